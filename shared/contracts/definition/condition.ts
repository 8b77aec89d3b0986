/**
 * One word, string, number or operator of an expression. A string that nothing closes reaches to the end of its line, so
 * that no character is read twice.
 */
const TOKEN =
  /"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\[^])*`?|[A-Za-z_$][\w$]*|\d[\w.]*|[=!]==?|[<>]=|=>|&&|\|\||\?\?|\?\.|\*\*|\.\.\.|\s+|[^]/g;
const OPENING = new Set(["(", "[", "{"]);
const CLOSING = new Set([")", "]", "}"]);
const PYTHON_WORDS = new Set(["and", "or", "not", "in", "is"]);
/** Operators that end the operand of `not`, `in` and `is`. */
const TERM_ENDS = new Set(["&&", "||", "?", ":", ",", ";"]);

/** A term that is being written. `slot`: where in the output its beginning stands, which is known at its end only. */
type Term = { slot: number; nots: number; test: "in" | "is" | null; negated: boolean; isEmpty: boolean };

/**
 * Converts a condition to JavaScript. Imported definitions have conditions in Python; the simple forms work: `and`, `or`,
 * `not x`, `x in y`, `x not in y`, `is None`, `is not None` (the sandbox defines `True`, `False`, `None`, `len` and
 * `state.get("x")`). A condition without these words is returned unchanged. Linear in the length of the condition.
 */
export function toJavaScript(expression: string): string {
  const tokens = tokensOf(expression);
  return tokens.some((token) => PYTHON_WORDS.has(token)) ? convert(tokens) : expression;
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
  return code.match(TOKEN) ?? [];
}

/**
 * Writes the tokens, term by term: `and`, `or` and the operators that bind as weakly end a term, and a bracket begins one
 * inside of it. A term has at most one of the words, apart from a `not` before it, `not in` and `is not`.
 */
function convert(tokens: readonly string[]): string {
  const out: string[] = [];
  const open: Term[] = [];
  const begin = (): Term => ({ slot: out.push("") - 1, nots: 0, test: null, negated: false, isEmpty: true });
  const end = ({ slot, nots, test, negated }: Term): void => {
    out[slot] = `${" !(".repeat(nots)}${test === null ? "" : ` ${negated ? "!" : ""}__${test}(`}`;
    out.push(`${test === null ? "" : ") "}${") ".repeat(nots)}`);
  };
  let term = begin();
  let lastWord = "";
  for (const token of tokens) {
    if (OPENING.has(token)) {
      term.isEmpty = false;
      open.push(term);
      out.push(token);
      term = begin();
    } else if (CLOSING.has(token) && open.length > 0) {
      end(term);
      out.push(token);
      term = open.pop() ?? term;
    } else if (token === "and" || token === "or" || TERM_ENDS.has(token)) {
      end(term);
      out.push(token === "and" ? "&&" : token === "or" ? "||" : token);
      term = begin();
    } else if (token === "not" && term.isEmpty) term.nots += 1;
    else if (token === "not" && (term.test === null || lastWord === "is")) {
      // `not in`, whose `in` follows, or `is not`.
      term.negated = true;
    } else if ((token === "in" || token === "is") && term.test === null) {
      term.test = token;
      out.push(", ");
    } else {
      if (token.trim() !== "") term.isEmpty = false;
      out.push(token);
    }
    if (token.trim() !== "") lastWord = token;
  }
  end(term);
  for (const unclosed of open.toReversed()) end(unclosed);
  return out.join("");
}
