import type { Json } from "../../shared/contracts/json.ts";
import { isObject } from "../../shared/contracts/json.ts";
import { parseJson } from "../engine/parse-json.ts";

/** A server-sent event, or JSON that a server wrote between events. */
export type StreamEvent = { name: string | undefined; data: string };

/** Characters of one event. A longer one is no part of an answer. */
const MAX_EVENT_CHARS = 16_000_000;
/** Characters of JSON between events, such as an error page. */
const MAX_STRAY_CHARS = 1_000_000;
/** `error` is not in the standard: servers of llama.cpp write `error: {…}` for an error within an answer. */
const FIELDS = new Set(["data", "event", "id", "retry", "error"]);

/**
 * Splits a body into its events (HTML Living Standard, 9.2.6), with two deviations of servers from the standard: a last
 * event without an empty line after it, and plain JSON instead of an event, also over several lines.
 */
export class EventReader {
  #rest = "";
  #name: string | undefined;
  #data: string[] = [];
  #stray: string[] = [];
  #strayChars = 0;
  #isAtEnd = false;

  /** The events that `text` completes. @throws RangeError when an event is longer than any answer */
  push(text: string): StreamEvent[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > MAX_EVENT_CHARS) throw new RangeError("an event of the stream is too long");
    return lines.flatMap((line) => this.#line(line));
  }

  /** Has the end of the body been read? */
  get isAtEnd(): boolean {
    return this.#isAtEnd;
  }

  /** The events that the end of the body completes. */
  end(): StreamEvent[] {
    this.#isAtEnd = true;
    const last = this.#rest.replace(/\r$/, "");
    this.#rest = "";
    const events = [...this.#line(last), ...this.#line("")];
    // One value on each line, without a field before it.
    const lines = this.#stray.filter((line) => isObject(parseJson(line)));
    return [...events, ...lines.map((data) => ({ name: undefined, data }))];
  }

  /** Is there text that is neither an event nor the beginning of JSON? */
  get hasPage(): boolean {
    return /^\s*[^\s{[]/.test(this.#stray.join("\n"));
  }

  #line(line: string): StreamEvent[] {
    if (line === "") return this.#flush();
    if (line.startsWith(":")) return [];
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    if (!FIELDS.has(field)) {
      this.#strayChars += line.length;
      if (this.#strayChars <= MAX_STRAY_CHARS) this.#stray.push(line);
      return [];
    }
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data" || field === "error") this.#data.push(value);
    if (field === "event") this.#name = value;
    if (field === "error") this.#name = "error";
    return [];
  }

  #flush(): StreamEvent[] {
    const events: StreamEvent[] = [];
    if (this.#data.length > 0) events.push({ name: this.#name, data: this.#data.join("\n") });
    const stray = this.#stray.join("\n");
    if (parseJson(stray) !== undefined) {
      events.push({ name: undefined, data: stray });
      this.#forgetStray();
    }
    this.#data = [];
    this.#name = undefined;
    return events;
  }

  #forgetStray(): void {
    this.#stray = [];
    this.#strayChars = 0;
  }
}

/** The JSON objects of an event's data: some gateways send a list of them. Undefined: the data is no JSON. */
export function objectsIn(data: string): Json[] | undefined {
  const value = parseJson(data);
  if (value === undefined) return undefined;
  return Array.isArray(value) ? value : [value];
}
