import { keptInJob } from "./kept-in-job.ts";

/**
 * One word, string, number, comment or operator of an expression; the name of a property is a part of its dot, so that `state.in` has no
 * word of Python. A string that nothing closes reaches to the end of its line, so that no character is read twice.
 */
const TOKEN =
  /\/\/.*|\/\*(?:[^*]|\*(?!\/))*(?:\*\/)?|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\[^])*`?|(?:(?:\?\.|\.(?!\.))\s*)?[\p{ID_Start}$_][$\u200c\u200d\p{ID_Continue}]*|\d[\w.]*|[=!]==?|[<>]=|=>|&&|\|\||\?\?|\?\.|\*\*|\.\.\.|\s+|[^]/guy;
/** A pattern, as a slash begins one where a value may stand. A pattern that nothing closes reaches to the end of its line. */
const PATTERN = /\/(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\]?)*(?:\/[A-Za-z]*)?/y;
/** The end of a value: the slash that follows is a division. */
const VALUE_END = /[\p{ID_Continue}$"'`)\]}]$/u;
const OPENING = new Set(["(", "[", "{"]);
const CLOSING = new Set([")", "]", "}"]);
const PYTHON_WORDS = new Set(["and", "or", "not", "in", "is"]);
/** The functions of the sandbox that stand for words of Python. */
export const WORD_FUNCTIONS = ["__is", "__in", "__true", "__value"] as const;
/** What ends the operand of `not`, `in` and `is`, and begins that of `and` and `or`. */
const TERM_ENDS = new Set(["&&", "||", "?", ":", ",", ";", "=>", "=", "return"]);

/** A part of the converted text, and the offset in the condition of what it was made from. */
type Piece = { text: string; from: number };

/** A condition as the sandbox evaluates it. `offsetOf`: the place in the condition of an offset in `script`. */
export type ConditionScript = { script: string; offsetOf(offset: number): number };

/** A term that is being written. `slot`: where in the output its beginning stands, which is known at its end only. */
type Term = { slot: number; nots: number; test: "in" | "is" | null; negated: boolean; isEmpty: boolean };

/**
 * A bracket that is open, and the term around it. `slot`: where it stands in the output. `after`: the word before a round bracket: after
 * `in`, a bracket with a comma is a tuple of Python, and after `for`, the `in` inside is that of JavaScript.
 */
type Bracket = { around: Term; slot: number; after: string; hasComma: boolean };

/**
 * The script of a condition: an expression in brackets, so that it is none of the statements that begin with `{` or
 * `function`. Imported definitions have conditions in Python; the simple forms are converted: `and`, `or`, `not x`,
 * `x in y`, `x not in y`, `x in (1, 2)`, `is None`, `is not None` (the sandbox defines `True`, `False`, `None`, `len` and
 * `state.get("x")`). To `and`, `or` and `not` an empty list or object is false, as in Python. A condition without these words stays as
 * it is. Linear in the length of the condition.
 */
export const scriptOf = keptInJob((condition: string): ConditionScript => {
  const tokens = tokensOf(condition);
  const isPython = tokens.some((token) => PYTHON_WORDS.has(token));
  const pieces = isPython ? convert(tokens) : [{ text: condition, from: 0 }];
  return {
    // The last line may end with a comment.
    script: `(${pieces.map(({ text }) => text).join("")}\n)`,
    offsetOf: (offset) => Math.min(condition.length, sourceOffset(pieces, offset - 1)),
  };
});

function sourceOffset(pieces: readonly Piece[], offset: number): number {
  let end = 0;
  for (const { text, from } of pieces) {
    end += text.length;
    if (offset < end) return from + Math.max(0, text.length - (end - offset));
  }
  return Number.POSITIVE_INFINITY;
}

const DIVISOR = /^\/\/\s*(?:\d|state[.[]|(?:len|int|float)\()/;
/** A word that is none of an expression's, or a comma: what follows `//` is prose. */
const PROSE =
  /,|(?<![\w$.])(?!(?:state|and|or|not|in|is|if|else|len|int|float|None|True|False|null|true|false)\b)[A-Za-z_]/;

/** Whether an expression divides as Python does, by `//`, which begins a comment here: a value follows it, and no words of prose. */
export function dividesWithFloor(condition: string): boolean {
  return tokensOf(condition).some(
    (token) => DIVISOR.test(token) && !PROSE.test(token.replaceAll(/"[^"]*"|'[^']*'/g, "")),
  );
}

/** How deep the brackets of an expression or a program are nested, outside of its strings. */
export function nestingOf(code: string): number {
  let depth = 0;
  let deepest = 0;
  for (const token of tokensOf(code)) {
    if (OPENING.has(token)) deepest = Math.max(deepest, ++depth);
    else if (CLOSING.has(token)) depth = Math.max(0, depth - 1);
  }
  return deepest;
}

function tokensOf(code: string): string[] {
  const tokens: string[] = [];
  let mayBeginValue = true;
  for (let at = 0; at < code.length;) {
    const isPattern: boolean =
      mayBeginValue && code[at] === "/" && code[at + 1] !== "/" && code[at + 1] !== "*";
    const expression: RegExp = isPattern ? PATTERN : TOKEN;
    expression.lastIndex = at;
    const token: string = expression.exec(code)?.[0] ?? "";
    tokens.push(token);
    at += token.length;
    const isBetween: boolean = !isPattern && /^(?:\s|\/[/*])/.test(token);
    if (!isBetween) mayBeginValue = !isPattern && (PYTHON_WORDS.has(token) || !VALUE_END.test(token));
  }
  return tokens;
}

/**
 * Writes the tokens, term by term: `and`, `or` and the operators that bind as weakly end a term, and a bracket begins one
 * inside of it. A term has at most one of the words, apart from a `not` before it, `not in` and `is not`.
 */
function convert(tokens: readonly string[]): Piece[] {
  const out: Piece[] = [];
  const open: Bracket[] = [];
  let at = 0;
  const write = (text: string): number => out.push({ text, from: at }) - 1;
  const begin = (): Term => ({ slot: write(""), nots: 0, test: null, negated: false, isEmpty: true });
  /** @param isLeft the term is the left operand of `and` or `or` */
  const end = ({ slot, nots, test, negated }: Term, isLeft = false): void => {
    const beginning = out[slot];
    const isValue = isLeft && nots === 0 && test === null;
    const made = test !== null ? ` ${negated ? "!" : ""}__${test}(` : isValue ? " __value(" : "";
    if (beginning !== undefined) beginning.text = `${" !__true(".repeat(nots)}${made}`;
    write(`${made === "" ? "" : ") "}${") ".repeat(nots)}`);
  };
  let term = begin();
  let lastWord = "";
  for (const token of tokens) {
    if (OPENING.has(token)) {
      term.isEmpty = false;
      const slot = write(token);
      open.push({ around: term, slot, after: token === "(" ? lastWord : "", hasComma: false });
      term = begin();
    } else if (CLOSING.has(token) && open.length > 0) {
      end(term);
      const bracket = open.pop();
      const opening = bracket?.after === "in" && bracket.hasComma ? out[bracket.slot] : undefined;
      if (opening !== undefined) opening.text = "[";
      write(opening === undefined ? token : "]");
      term = bracket?.around ?? term;
    } else if (token === "and" || token === "or" || TERM_ENDS.has(token)) {
      end(term, PYTHON_WORDS.has(token));
      const bracket = open.at(-1);
      if (token === "," && bracket !== undefined) bracket.hasComma = true;
      write(token === "and" ? "&&" : token === "or" ? "||" : token);
      term = begin();
    } else if (token === "not" && term.isEmpty) term.nots += 1;
    else if (token === "not" && (term.test === null || lastWord === "is")) {
      // `not in`, whose `in` follows, or `is not`.
      term.negated = true;
    } else if (
      (token === "in" || token === "is") &&
      term.test === null &&
      !(token === "in" && open.at(-1)?.after === "for")
    ) {
      term.test = token;
      write(", ");
    } else {
      if (token.trim() !== "") term.isEmpty = false;
      // A bracket that closes the term must not become a part of the comment.
      write(token.startsWith("//") ? `${token}\n` : token);
    }
    if (token.trim() !== "") lastWord = token;
    at += token.length;
  }
  end(term);
  for (const { around } of open.toReversed()) end(around);
  return out;
}
