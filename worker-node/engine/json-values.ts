/** Where a JSON object or list stands in a text. */
export type Range = { from: number; to: number };

/** What may come next inside an object or a list, as JSON's grammar has it (RFC 8259). */
type Expected = "first" | "key" | "colon" | "value" | "comma";
/**
 * An object or list that has begun. `hasKey`: an object with a key and its colon, which prose does not write. `inner`: the objects and
 * lists in it that are complete.
 */
type Open = { from: number; isObject: boolean; hasKey: boolean; expected: Expected; inner: Range[] };

/** Below the depth at which a value is refused, so that a list of all values found is no deeper than that. */
const MAX_DEPTH = 63;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.])/y;
/** A text without its end goes to the end of all: if the expression failed there, it would read the rest again from each quotation mark in it. */
const STRING_OR_BRACKET = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"?|[{}[\]]/g;
/** An object in the notation of Python or JavaScript: its parts may be JSON. */
const OTHER_NOTATION = /\{\s*(?:'[^'\n]{0,200}'|[A-Za-z_$][\w$]{0,100})\s*:\s*["'{[\d-]/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/**
 * The outermost JSON objects and lists in a text, in order, whatever stands around them. An object that is cut, or has a fault, is none
 * of them, and neither is a part of it: a part would pass for the whole.
 *
 * Linear: a bracket of prose is left at the first character that JSON does not allow there, and the search goes on from
 * that character. Only the last string before it is read again, as it may have begun at a quotation mark of prose.
 */
export function jsonValuesIn(text: string): Range[] {
  const found: Range[] = [];
  const opening = /[{[]/g;
  while (opening.test(text)) {
    const { values, next } = scan(text, opening.lastIndex - 1);
    for (const value of values) found.push(value);
    opening.lastIndex = next;
  }
  return found;
}

/** Whether the whole text is one JSON value, as far as a scan can say without parsing it. */
export function isJsonText(text: string): boolean {
  const first = text[0];
  if (first !== "{" && first !== "[") {
    return (first === '"' ? stringEnd(text, 0) : endOf(SCALAR, text, 0)) === text.length;
  }
  const [value] = scan(text, 0).values;
  return value?.from === 0 && value.to === text.length;
}

/** Reads from an opening bracket to its closing one, or to what JSON does not allow: then `values` are the complete parts. */
function scan(text: string, from: number): { values: Range[]; next: number } {
  const stack: Open[] = [];
  let stringFrom: number | null = null;
  for (let at = from; ; at = afterSpace(text, at)) {
    const top = stack.at(-1);
    const char = text[at];
    if (top !== undefined && closes(top, char)) {
      at += 1;
      stack.pop();
      const range = { from: top.from, to: at };
      const outer = stack.at(-1);
      if (outer === undefined) return { values: [range], next: at };
      outer.inner.push(range);
      outer.expected = "comma";
    } else if ((char === "{" || char === "[") && takesValue(top)) {
      // Its inner parts are not the value that the text has.
      if (stack.length === MAX_DEPTH) return { values: [], next: closingOf(text, from) };
      stack.push({ from: at, isObject: char === "{", hasKey: false, expected: "first", inner: [] });
      at += 1;
    } else {
      const end = top === undefined ? null : token(text, at, top);
      if (end === null) {
        if (stack.some((open) => open.hasKey || isOtherNotation(text, open)))
          return { values: [], next: closingOf(text, from) };
        return { values: stack.flatMap((open) => open.inner), next: stringFrom ?? at };
      }
      stringFrom = char === '"' ? at + 1 : null;
      at = end;
    }
  }
}

function isOtherNotation(text: string, { from, isObject }: Open): boolean {
  return isObject && endOf(OTHER_NOTATION, text, from) !== null;
}

/** The end of a value that is not read: after the bracket that closes it, else the end of the text. */
function closingOf(text: string, from: number): number {
  const part = new RegExp(STRING_OR_BRACKET);
  part.lastIndex = from;
  let depth = 0;
  for (let match = part.exec(text); match !== null; match = part.exec(text)) {
    const [piece] = match;
    if (piece === "{" || piece === "[") depth += 1;
    else if (piece === "}" || piece === "]") depth -= 1;
    if (depth === 0) return part.lastIndex;
  }
  return text.length;
}

function closes({ isObject, expected }: Open, char: string | undefined): boolean {
  return char === (isObject ? "}" : "]") && (expected === "first" || expected === "comma");
}

function takesValue(open: Open | undefined): boolean {
  return open === undefined || open.expected === "value" || (open.expected === "first" && !open.isObject);
}

/** The end of the token at `at`, which moves `open` on; null when JSON does not allow it there. */
function token(text: string, at: number, open: Open): number | null {
  const { expected, isObject } = open;
  const char = text[at];
  if (expected === "colon" || expected === "comma") {
    if (char !== (expected === "colon" ? ":" : ",")) return null;
    open.expected = expected === "comma" && isObject ? "key" : "value";
    open.hasKey ||= isObject;
    return at + 1;
  }
  const isKey = isObject && expected !== "value";
  if (isKey && char !== '"') return null;
  const end = char === '"' ? stringEnd(text, at) : endOf(SCALAR, text, at);
  if (end !== null) open.expected = isKey ? "colon" : "comma";
  return end;
}

/** The end of the string at `from`. A loop, because a regular expression keeps a place to go back to for each character. */
function stringEnd(text: string, from: number): number | null {
  for (let at = from + 1; at < text.length;) {
    const char = text[at] ?? "";
    if (char === '"') return at + 1;
    if (char < " ") return null;
    const end: number | null = char === "\\" ? endOf(ESCAPE, text, at) : at + 1;
    if (end === null) return null;
    at = end;
  }
  return null;
}

function afterSpace(text: string, from: number): number {
  let at = from;
  for (
    let char = text[at];
    char === " " || char === "\n" || char === "\r" || char === "\t";
    char = text[at]
  ) {
    at += 1;
  }
  return at;
}

function endOf(pattern: RegExp, text: string, from: number): number | null {
  pattern.lastIndex = from;
  return pattern.test(text) ? pattern.lastIndex : null;
}
