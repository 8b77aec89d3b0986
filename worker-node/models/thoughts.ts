const OPENING = /^\s*<(think|thinking|thought)>/i;
/** The longest beginning of a text that may still become an opening tag. */
const MAY_OPEN = /^\s*(?:<(?:t(?:h(?:i(?:n(?:k(?:i(?:n(?:g)?)?)?)?)?|o(?:u(?:g(?:h(?:t)?)?)?)?)?)?)?)?$/i;

/**
 * Divides a text into what a model thinks aloud and its answer. Models without a field for it write `<think>…</think>`
 * before the answer. A tag that is never closed is no thought: the whole text is the answer.
 */
export class Thoughts {
  #held = "";
  #isPast = false;

  /** The part of the answer that `piece` brings, as far as it is known to be one. */
  push(piece: string): string {
    if (this.#isPast) return piece;
    this.#held += piece;
    const opening = OPENING.exec(this.#held);
    if (opening === null) return MAY_OPEN.test(this.#held) ? "" : this.#release(this.#held);
    const closing = new RegExp(`</${opening[1]}>\\s*`, "i").exec(this.#held);
    if (closing === null) return "";
    const rest = this.#held.slice(closing.index + closing[0].length);
    // White space that follows belongs to the tag, and more of it may come.
    return rest === "" ? "" : this.#release(rest);
  }

  /** What is left when the text ends. */
  end(): string {
    const closed = /^\s*<(think|thinking|thought)>[\s\S]*?<\/\1>\s*$/i;
    return this.#isPast || closed.test(this.#held) ? "" : this.#release(this.#held);
  }

  #release(text: string): string {
    this.#isPast = true;
    this.#held = "";
    return text;
  }
}

/** The answer in a whole text. Some servers leave the opening tag out, because their prompt ends with it. */
export function withoutThoughts(text: string): string {
  const thoughts = new Thoughts();
  const answer = thoughts.push(text) + thoughts.end();
  const orphan = /^(?:(?!<think>)[\s\S])*?^<\/think>\s*/im.exec(answer);
  const rest = orphan === null ? "" : answer.slice(orphan[0].length);
  return rest === "" ? answer : rest;
}
