/** Tokens by which models end a message, of the families whose servers let them through. */
const ENDS = [
  "<|im_end|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|eot|>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<|end|>",
  "<|return|>",
  "<|call|>",
  "<|END_OF_TURN_TOKEN|>",
  "<end_of_turn>",
  "<eos>",
  "</s>",
  "<｜end▁of▁sentence｜>",
  "<|end_of_box|>",
  "<|end_of_solution|>",
  "<|END_RESPONSE|>",
];
const END = ENDS.map(escaped).join("|");
const END_RUN = new RegExp(`(?:(?:${END})\\s*)+`, "y");
const ANY_END = new RegExp(END);
/** `<s>` begins a text that is struck out in HTML, and `</s>` ends it. */
const STRUCK = "<s>";

/** What stands before a message in the languages of models: the token that begins it, and its author. */
const HEADS = [
  "<|im_start|>assistant",
  "<|start_header_id|>assistant<|end_header_id|>",
  "<start_of_turn>model",
  "<|assistant|>",
  "<|begin_of_text|>",
  "<｜begin▁of▁sentence｜>",
  "<|begin_of_box|>",
  "<bos>",
];
const HEAD_RUN = new RegExp(`\\s*(?:(?:${[...ENDS, ...HEADS].map(escaped).join("|")})\\s*)+`, "y");
const STARTING = [...ENDS, ...HEADS];
const ENDING = [...ENDS, STRUCK];
const LONGEST_CHARS = Math.max(...STARTING.map((token) => token.length));
/** A run of tokens that is longer, with the space in it, is text. */
const MAX_RUN_CHARS = 2_000;

/**
 * Leaves out, as a text arrives, the special tokens of a model at the beginning and at the end of its text. A server that does not know
 * the tokens of its model passes them on as text.
 *
 * Text that speaks of tokens keeps them: a text with such a token in the middle keeps the tokens at its end, and a token that is followed
 * by a space, or by punctuation, is no beginning.
 */
export class SpecialTokens {
  #isBegun = false;
  /** Text that may be, or become, tokens. */
  #held = "";
  /** The text has a token, or `<s>`, in the middle. */
  #hasToken = false;

  /** The text that is certain to be text, after another piece. */
  push(piece: string): string {
    let text = this.#held + piece;
    this.#held = "";
    if (!this.#isBegun) {
      const rest = afterHead(text);
      if (rest === null && text.length <= MAX_RUN_CHARS) {
        this.#held = text;
        return "";
      }
      this.#isBegun = true;
      text = rest ?? text;
    }
    if (this.#hasToken) return text;
    const passed = text.slice(0, endFrom(text));
    this.#hasToken = passed.includes("<") && (passed.includes(STRUCK) || ANY_END.test(passed));
    if (this.#hasToken) return text;
    this.#held = text.slice(passed.length);
    return passed;
  }

  /** The rest of a text that has ended. */
  end(): string {
    const held = this.#held;
    this.#held = "";
    // Before the text has begun, all that came is held.
    const run = this.#isBegun ? END_RUN : HEAD_RUN;
    run.lastIndex = 0;
    return run.test(held) && run.lastIndex === held.length ? "" : held;
  }
}

/** The text after the tokens at its beginning, or all of it where it speaks of them; null: what follows may be a token too. */
function afterHead(text: string): string | null {
  HEAD_RUN.lastIndex = 0;
  const to = HEAD_RUN.test(text) ? HEAD_RUN.lastIndex : 0;
  const rest = text.slice(to);
  if (rest.trim() === "" || isBeginning(rest.trimStart(), STARTING)) return null;
  const isSpokenOf = /^[.,:;!?)'"`]/.test(rest) || /[^\S\n]$/.test(text.slice(0, to));
  return isSpokenOf ? text : rest;
}

/** Where tokens, or what may become one, begin at the end of a text; its length: nowhere. */
function endFrom(text: string): number {
  let at = text.indexOf("<");
  while (at >= 0) {
    END_RUN.lastIndex = at;
    const to = END_RUN.test(text) ? END_RUN.lastIndex : at;
    const isLast = to === text.length || isBeginning(text, ENDING, to);
    if (isLast && text.length - at <= MAX_RUN_CHARS) return at;
    at = text.indexOf("<", Math.max(to, at + 1));
  }
  return text.length;
}

/** Whether a text, from a place on, is the beginning of a token. */
function isBeginning(text: string, tokens: readonly string[], from = 0): boolean {
  if (text.length - from >= LONGEST_CHARS) return false;
  const rest = text.slice(from);
  return tokens.some((token) => token.startsWith(rest));
}

function escaped(token: string): string {
  return token.replaceAll("|", "\\|");
}
