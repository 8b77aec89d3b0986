/**
 * The tags between which models think aloud where their server has no field for it. Their closing tags have a slash after the first
 * character.
 */
const TAGS = ["<think>", "<thinking>", "<thought>", "<seed:think>", "[think]", "◁think▷"];
const CLOSING = /\n(?:<\/(?:think|thinking|thought|seed:think)>|\[\/think\]|◁\/think▷)/i;
const OPENING = /<(?:think|thinking|thought|seed:think)>|\[think\]|◁think▷/i;
/** The beginning of a line that may become a closing tag. */
const MAY_CLOSE = /\n[<[◁](?:\/[a-z:]{0,10})?$/i;
/** Characters of the text before a piece that are looked at again with it: longer than any tag. */
const TAIL_CHARS = 16;
/** The most white space before a text that begins with a thought. */
const MAX_SPACE_CHARS = 1_000;

/** What a piece of a model's text adds to its answer. `restarts`: all text before it was no part of the answer. */
export type AnswerPiece = { restarts: boolean; text: string };

/**
 * Divides a text, as it arrives, into what a model thinks aloud and its answer: one thought or several, before the answer.
 *
 * Some servers leave the opening tag out, because their prompt ends with it. Then the thought has been passed on as text before its
 * closing tag arrives (at the beginning of a line), and the answer restarts. A tag that is never closed is no thought. The time
 * is linear in the length of the text.
 */
export class Thoughts {
  #is: "opening" | "thought" | "answer" = "opening";
  /** Text that may be, or become, a tag or a part of a thought. */
  #held = "";
  /** The opening tag of the thought, and its text before `#held`. */
  #tag = "";
  #thought: string[] = [];
  #hasThought = false;
  /** The end of the answer so far. A text begins like a line. */
  #tail = "\n";
  /** The answer contains an opening tag as text: a closing tag after it is text too. */
  #hasTagAsText = false;

  push(piece: string): AnswerPiece {
    if (this.#is === "answer") return this.#answer(piece);
    this.#held += piece;
    return this.#is === "opening" ? this.#open() : this.#think(this.#held.length - piece.length);
  }

  /** What is left when the text ends. */
  end(): AnswerPiece {
    const text = this.#thought.join("") + this.#held;
    const isNothing = this.#hasThought && text.trim() === "";
    return { restarts: false, text: isNothing ? "" : text };
  }

  #open(): AnswerPiece {
    const trimmed = this.#held.trimStart();
    const spaceChars = this.#held.length - trimmed.length;
    // White space after a thought belongs to its tag.
    if (this.#hasThought) this.#held = trimmed;
    const begun = trimmed.slice(0, TAIL_CHARS).toLowerCase();
    const tag = TAGS.find((each) => begun.startsWith(each));
    if (tag !== undefined) {
      this.#is = "thought";
      this.#tag = tag;
      return this.#think(0);
    }
    const mayBeTag = this.#hasThought || spaceChars <= MAX_SPACE_CHARS;
    if (mayBeTag && TAGS.some((each) => each.startsWith(begun))) return { restarts: false, text: "" };
    this.#is = "answer";
    const text = this.#held;
    this.#held = "";
    return this.#answer(text);
  }

  /** @param readChars characters of the held text that were looked at before */
  #think(readChars: number): AnswerPiece {
    const closing = `${this.#tag.slice(0, 1)}/${this.#tag.slice(1)}`;
    const fromChars = Math.max(0, readChars - TAIL_CHARS);
    const at = this.#held.slice(fromChars).toLowerCase().indexOf(closing);
    if (at >= 0) {
      this.#thought = [];
      return this.#close(this.#held.slice(fromChars + at + closing.length));
    }
    const keptFrom = Math.max(0, this.#held.length - TAIL_CHARS);
    this.#thought.push(this.#held.slice(0, keptFrom));
    this.#held = this.#held.slice(keptFrom);
    return { restarts: false, text: "" };
  }

  /** A thought has ended: another one or the answer follows. */
  #close(rest: string): AnswerPiece {
    this.#is = "opening";
    this.#hasThought = true;
    this.#held = rest;
    return this.#open();
  }

  #answer(piece: string): AnswerPiece {
    if (this.#hasTagAsText) return { restarts: false, text: piece };
    const text = this.#held + piece;
    const seen = this.#tail + text;
    const closing = CLOSING.exec(seen);
    const opening = OPENING.exec(seen);
    if (closing !== null && (opening === null || opening.index > closing.index)) {
      this.#held = "";
      this.#tail = "\n";
      return { ...this.#close(seen.slice(closing.index + closing[0].length)), restarts: true };
    }
    this.#hasTagAsText = opening !== null;
    const heldChars = this.#hasTagAsText ? 0 : (MAY_CLOSE.exec(seen)?.[0].length ?? 1) - 1;
    const passed = text.slice(0, text.length - heldChars);
    this.#held = text.slice(passed.length);
    this.#tail = (this.#tail + passed).slice(-TAIL_CHARS);
    return { restarts: false, text: passed };
  }
}
