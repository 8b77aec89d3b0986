/** Names of the tags between which models think aloud where their server has no field for it. */
const NAMES = ["think", "thinking", "thought", "seed:think", "mm:think", "reasoning_scratchpad"];
const NAME = NAMES.join("|");
/** The most characters of an opening tag. */
const MAX_TAG_CHARS = 120;
const TAG = new RegExp(`^<(${NAME})(?:\\s[^<>]*)?>`);
const TAG_BEGINNING = new RegExp(`^<(?:${NAME})(?:\\s[^<>]*)?$`);
/** Other marks around thoughts, of Mistral, Kimi, Sky-T1, Cohere and Gemma. */
const MARKS: readonly [string, RegExp][] = [
  ["[think]", /\[\/think\]/i],
  ["◁think▷", /◁\/think▷/i],
  ["<|begin_of_thought|>", /<\|end_of_thought\|>/i],
  ["<|start_thinking|>", /<\|end_thinking\|>/i],
  ["<|channel>thought", /<channel\|>/i],
];
const CLOSINGS: ReadonlyMap<string, RegExp> = new Map(
  NAMES.map((name) => [name, new RegExp(`</${name} ?>`, "i")]),
);
/** What stands between a thought and the answer. */
const ANSWER_MARKS = ["<|begin_of_solution|>", "<|start_response|>"];
/** A closing tag without an opening one: at the beginning of a line, or right after a sentence. */
const CLOSING = new RegExp(`[\\n.!?…。！？](?:</(?:${NAME}) ?>|\\[/think\\]|◁/think▷)`, "i");
const OPENING = new RegExp(`<(?:${NAME})(?:\\s[^<>]{0,100})?>|\\[think\\]|◁think▷`, "i");
/** The beginning of what may become a closing tag. */
const MAY_CLOSE = /[\n.!?…。！？][<[◁](?:\/[a-z:_]{0,20} ?)?$/i;
/** Characters of the text before a piece that are looked at again with it: longer than any tag. */
const TAIL_CHARS = 32;
/** The most white space before a text that begins with a thought. */
const MAX_SPACE_CHARS = 1_000;

/** What a piece of a model's text adds to its answer. `restarts`: all text before it was no part of the answer. */
export type AnswerPiece = { restarts: boolean; text: string };

/**
 * Divides a text, as it arrives, into what a model thinks aloud and its answer: one thought or several, before the answer.
 *
 * Some servers leave the opening tag out, because their prompt ends with it. Then the thought has been passed on as text before its
 * closing tag arrives, and the answer restarts. A tag that is never closed is no thought. Tags that prompts ask for, such as
 * `<reasoning>`, are text. The time is linear in the length of the text.
 */
export class Thoughts {
  #is: "opening" | "thought" | "answer" = "opening";
  /** Text that may be, or become, a tag or a part of a thought. */
  #held = "";
  /** The characters of the thought's opening tag, its closing one, and its text before `#held`. */
  #tagChars = 0;
  #closing = /$^/;
  #thought: string[] = [];
  #hasThought = false;
  /** The end of the answer so far. A text begins like a line. */
  #tail = "\n";
  #last = "";
  /** The answer contains an opening tag as text: a closing tag after it is text too. */
  #hasTagAsText = false;

  /** The last thought between tags that has ended; "": there is none. */
  get last(): string {
    return this.#last;
  }

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
    const begun = trimmed.slice(0, MAX_TAG_CHARS).toLowerCase();
    const [tag, closing] = tagOf(begun) ?? [];
    if (tag !== undefined && closing !== undefined) {
      this.#is = "thought";
      this.#tagChars = tag.length;
      this.#closing = closing;
      return this.#think(0);
    }
    const before = this.#hasThought ? ANSWER_MARKS.find((mark) => begun.startsWith(mark)) : undefined;
    if (before !== undefined) this.#held = trimmed.slice(before.length);
    const mayBeTag = this.#hasThought || spaceChars <= MAX_SPACE_CHARS;
    if (before === undefined && mayBeTag && mayBecomeTag(begun)) return { restarts: false, text: "" };
    this.#is = "answer";
    const text = this.#held;
    this.#held = "";
    return this.#answer(text);
  }

  /** @param readChars characters of the held text that were looked at before */
  #think(readChars: number): AnswerPiece {
    const fromChars = Math.max(0, readChars - TAIL_CHARS);
    const closing = this.#closing.exec(this.#held.slice(fromChars));
    if (closing !== null) {
      const at = fromChars + closing.index;
      this.#last = (this.#thought.join("") + this.#held.slice(0, at)).trimStart().slice(this.#tagChars);
      this.#thought = [];
      return this.#close(this.#held.slice(at + closing[0].length));
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

/** The opening tag with which a text begins, and what closes it. */
function tagOf(begun: string): readonly [string, RegExp] | undefined {
  const [tag, name = ""] = TAG.exec(begun) ?? [];
  const closing = CLOSINGS.get(name);
  if (tag !== undefined && closing !== undefined) return [tag, closing];
  return MARKS.find(([mark]) => begun.startsWith(mark));
}

function mayBecomeTag(begun: string): boolean {
  if (begun.length >= MAX_TAG_CHARS) return false;
  const tags = [...NAMES.map((name) => `<${name}`), ...MARKS.map(([mark]) => mark), ...ANSWER_MARKS];
  return TAG_BEGINNING.test(begun) || tags.some((tag) => tag.startsWith(begun));
}
