import { jsonValuesIn } from "../engine/json-values.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { isObject } from "../../shared/contracts/json.ts";
import { parseJson } from "../engine/parse-json.ts";

/** A server-sent event, or JSON that a server wrote between events. */
export type StreamEvent = { name: string | undefined; data: string };

/** The most characters of one event. A longer event is no part of an answer. */
const MAX_EVENT_CHARS = 16_000_000;
/** The most characters of a whole body, its comments included. */
const MAX_BODY_CHARS = 128_000_000;
/** Characters of JSON between events, such as an error page. */
const MAX_STRAY_CHARS = 1_000_000;
/** The most characters that are parsed in search of JSON between events. After that only the end of the body is parsed. */
const MAX_TRIED_CHARS = 4 * MAX_STRAY_CHARS;
/** `error` is not in the standard: servers of llama.cpp write `error: {…}` for an error within an answer. */
const FIELDS = new Set(["data", "event", "id", "retry", "error"]);

/**
 * Splits a body into its events (HTML Living Standard, 9.2.6). It also reads two deviations of servers from the standard: a last event
 * without an empty line after it, and plain JSON in place of an event, also over several lines. The time is linear in the
 * length of the body, whatever the pieces in which it arrives.
 */
export class EventReader {
  /** The beginning of a line that has not ended. */
  #rest = "";
  /** A line feed may follow it in the next piece. */
  #carriageReturn = "";
  #bodyChars = 0;
  #name: string | undefined;
  #data: string[] = [];
  #dataChars = 0;
  #stray: string[] = [];
  #strayChars = 0;
  /** True when a stray line has come since the stray lines were parsed last. `#triedChars`: the characters that were parsed so far. */
  #hasNewStray = false;
  #triedChars = 0;
  #hasJson = false;
  #isAtEnd = false;

  /** The events that `text` completes. @throws RangeError when an event, or the body, is longer than any answer */
  push(text: string): StreamEvent[] {
    const piece = this.#carriageReturn + text;
    this.#carriageReturn = piece.endsWith("\r") ? "\r" : "";
    // Only the new piece is searched: the line before it may be millions of characters long.
    const [first = "", ...others] = piece
      .slice(0, piece.length - this.#carriageReturn.length)
      .split(/\r\n|\n|\r/);
    this.#rest += first;
    const last = others.pop();
    const lines = last === undefined ? [] : [this.#rest, ...others];
    this.#rest = last ?? this.#rest;
    this.#bodyChars += text.length;
    if (this.#bodyChars > MAX_BODY_CHARS || this.#rest.length + this.#dataChars > MAX_EVENT_CHARS) {
      throw new RangeError("the stream of the answer is too long");
    }
    return lines.flatMap((line) => this.#line(line));
  }

  /** True when the end of the body has been read. */
  get isAtEnd(): boolean {
    return this.#isAtEnd;
  }

  /** The events that the end of the body completes. */
  end(): StreamEvent[] {
    this.#isAtEnd = true;
    const events = [...this.#line(this.#rest), ...this.#line("")];
    this.#rest = "";
    // One value on each line, without a field before it.
    const lines = this.#stray.filter((line) => isObject(parseJson(line)));
    return [...events, ...lines.map((data) => ({ name: undefined, data }))];
  }

  /** Whether there is JSON in place of events, or text that is neither an event nor the beginning of JSON. */
  get hasPage(): boolean {
    return this.#hasJson || /^\s*[^\s{[]/.test(this.#stray.join("\n"));
  }

  #line(line: string): StreamEvent[] {
    if (line === "") return this.#flush();
    if (line.startsWith(":")) return [];
    const colon = line.indexOf(":");
    // Some servers indent their lines, write a space before the colon, or write `Data`.
    const field = (colon < 0 ? line : line.slice(0, colon)).trim().toLowerCase();
    if (!FIELDS.has(field)) {
      this.#strayChars += line.length;
      if (this.#strayChars <= MAX_STRAY_CHARS) this.#stray.push(line);
      this.#hasNewStray = true;
      return [];
    }
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data" || field === "error") {
      this.#data.push(value);
      this.#dataChars += value.length;
    }
    if (field === "event") this.#name = value;
    if (field === "error") this.#name = "error";
    return [];
  }

  #flush(): StreamEvent[] {
    const events: StreamEvent[] = [];
    if (this.#data.length > 0) events.push({ name: this.#name, data: this.#data.join("\n") });
    const stray = this.#strayJson();
    if (stray !== undefined) {
      events.push({ name: undefined, data: stray });
      this.#hasJson = true;
      this.#forgetStray();
    }
    this.#data = [];
    this.#dataChars = 0;
    this.#name = undefined;
    return events;
  }

  /** The stray lines so far, if they are JSON. A body in which each event has another one costs no more than a few parses of all. */
  #strayJson(): string | undefined {
    const mayTry = this.#isAtEnd || this.#triedChars + this.#strayChars <= MAX_TRIED_CHARS;
    if (!this.#hasNewStray || !mayTry) return undefined;
    const stray = this.#stray.join("\n");
    this.#triedChars += stray.length;
    this.#hasNewStray = false;
    return parseJson(stray) === undefined ? undefined : stray;
  }

  #forgetStray(): void {
    this.#stray = [];
    this.#strayChars = 0;
  }
}

/**
 * The JSON values of an event's data. Some gateways send a list of them, some one after the other, and some leave out the
 * empty lines between events, which makes one event of all. Undefined: the data is something else.
 */
export function valuesIn(data: string): Json[] | undefined {
  const value = parseJson(data);
  if (value !== undefined) return Array.isArray(value) ? value : [value];
  const ranges = jsonValuesIn(data);
  let end = 0;
  for (const { from, to } of ranges) {
    if (data.slice(end, from).trim() !== "") return undefined;
    end = to;
  }
  if (ranges.length === 0 || data.slice(end).trim() !== "") return undefined;
  return ranges.flatMap(({ from, to }) => parseJson(data.slice(from, to)) ?? []);
}
