import { TerminalError } from "./step-errors.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** The longest text that is made of a definition and a run's values: a rendered template, a prompt, a tool's URL or body. */
const MAX_TEXT_BYTES = 1024 * 1024;

/**
 * Refuses a text before it is made: its parts are measured as they come, and the first one that does not fit fails the
 * step. Measured after it was made, a text of 500 values of 1 MB took a worker's memory and its event loop.
 */
export class TextBudget {
  readonly #what: string;
  #sizeBytes = 0;

  /** @param what the text, for the error: `the prompt` */
  constructor(what: string) {
    this.#what = what;
  }

  /** Reserves room for `times` copies of a text. @throws TerminalError `template` when the whole exceeds 1 MiB */
  add(text: string, times = 1): void {
    this.#reserve(text.length * times);
    this.#sizeBytes += (Buffer.byteLength(text) - text.length) * times;
    this.#reserve(0);
  }

  /** Checks that `times` copies of a value's text can fit, before that text is made. It reserves nothing. */
  expect(value: Json, times = 1): void {
    const roomChars = Math.floor((MAX_TEXT_BYTES - this.#sizeBytes) / times);
    if (leastChars(value, roomChars) > roomChars) throw this.#tooLong();
  }

  #reserve(sizeBytes: number): void {
    this.#sizeBytes += sizeBytes;
    if (this.#sizeBytes > MAX_TEXT_BYTES) throw this.#tooLong();
  }

  #tooLong(): TerminalError {
    return new TerminalError("template", `${this.#what} would be longer than ${MAX_TEXT_BYTES} bytes`);
  }
}

/** Joins texts, unless the result would exceed 1 MiB. @throws TerminalError `template` */
export function joinWithin(what: string, texts: readonly string[], separator: string): string {
  const budget = new TextBudget(what);
  for (const text of texts) budget.add(text);
  budget.add(separator, Math.max(0, texts.length - 1));
  return texts.join(separator);
}

/** Characters that a value's JSON has at least, counted up to `limit`: escapes are not counted. */
function leastChars(value: Json, limit: number): number {
  const pending: Json[] = [value];
  let chars = 0;
  for (let inner = pending.pop(); inner !== undefined && chars <= limit; inner = pending.pop()) {
    if (typeof inner === "string") chars += inner.length;
    else if (typeof inner !== "object" || inner === null) chars += 1;
    else if (Array.isArray(inner)) {
      chars += inner.length + 1;
      if (chars <= limit) for (const item of inner) pending.push(item);
    } else {
      chars += 2;
      for (const key of Object.keys(inner)) {
        chars += key.length + 4;
        if (chars > limit) break;
        pending.push(inner[key] ?? null);
      }
    }
  }
  return chars;
}
