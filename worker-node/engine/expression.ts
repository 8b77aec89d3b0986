/** One word, string, number or operator of an expression. */
const TOKEN =
  /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|[A-Za-z_$][\w$]*|\d[\w.]*|[=!]==?|[<>]=|=>|&&|\|\||\?\?|\?\.|\*\*|\.\.\.|[^\s]|\s+/g;
const OPENING = new Set(["(", "[", "{"]);
const CLOSING = new Set([")", "]", "}"]);
const PYTHON_WORDS = new Set(["and", "or", "not", "in", "is"]);
/** Operators that end the operand of `not`, `in` and `is`. */
const TERM_ENDS = new Set(["&&", "||", "?", ":", ",", ";"]);

/**
 * Converts a condition to JavaScript. Imported definitions have conditions in Python; the simple forms work: `and`, `or`,
 * `not x`, `x in y`, `x not in y`, `is None`, `is not None` (the sandbox defines `True`, `False`, `None`, `len` and
 * `state.get("x")`). A condition without these words is returned unchanged.
 */
export function toJavaScript(expression: string): string {
  const tokens = expression.match(TOKEN) ?? [];
  return tokens.some((token) => PYTHON_WORDS.has(token)) ? convert(tokens) : expression;
}

/** Splits the tokens into terms, at `and`, `or` and the operators that bind as weakly. */
function convert(tokens: readonly string[]): string {
  let converted = "";
  let term: string[] = [];
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at] ?? "";
    if (OPENING.has(token)) {
      const end = closingIndex(tokens, at);
      term.push(token + convert(tokens.slice(at + 1, end)) + (tokens[end] ?? ""));
      at = end;
    } else if (token === "and" || token === "or" || TERM_ENDS.has(token)) {
      converted += convertTerm(term) + (token === "and" ? "&&" : token === "or" ? "||" : token);
      term = [];
    } else term.push(token);
  }
  return converted + convertTerm(term);
}

/** The index of the bracket that closes the one at `from`; the number of tokens when there is none. */
function closingIndex(tokens: readonly string[], from: number): number {
  let depth = 0;
  for (let at = from; at < tokens.length; at++) {
    const token = tokens[at] ?? "";
    if (OPENING.has(token)) depth++;
    else if (CLOSING.has(token) && --depth === 0) return at;
  }
  return tokens.length;
}

/** Converts a term: it has at most one of the words, apart from a `not` before it, `not in` and `is not`. */
function convertTerm(tokens: readonly string[]): string {
  const words = tokens.filter((token) => token.trim() !== "");
  if (words[0] === "not") return ` !(${convertTerm(words.slice(1).map((word) => ` ${word} `))}) `;
  const at = words.findIndex((token) => token === "in" || token === "is" || token === "not");
  if (at < 0) return tokens.join("");
  const left = words.slice(0, at).join(" ");
  const right = words.slice(at + 1);
  const negated = words[at] === "not" || right[0] === "not";
  const rest = right.slice(right[0] === "not" || words[at] === "not" ? 1 : 0).join(" ");
  const test = words[at] === "is" ? `__is(${left}, ${rest})` : `__in(${left}, ${rest})`;
  return ` ${negated ? "!" : ""}${test} `;
}
