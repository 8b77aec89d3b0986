/** Where a JSON value stands in a text. `hasSlip`: a parser does not read it, but `mendedText` makes JSON of it. */
export type Range = { from: number; to: number; hasSlip: boolean };

/** What may come next inside an object or a list, as JSON's grammar has it (RFC 8259). */
type Expected = "first" | "key" | "colon" | "value" | "comma";
/**
 * An object or list that has begun. `inner`: the objects and lists in it that are complete. `hasKey`: a key has been read, so it is no
 * bracket of prose.
 */
type Open = {
  from: number;
  isObject: boolean;
  expected: Expected;
  hasKey: boolean;
  hasSlip: boolean;
  inner: Range[];
};

/** Below the depth at which a value is refused, so that a list of all values found is no deeper than that. */
const MAX_DEPTH = 63;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.])/y;
/** A text without its end goes to the end of all: if the expression failed there, it would read the rest again from each quotation mark in it. */
const STRING_OR_BRACKET = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"?|[{}[\]]/g;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
/** What a string may not have as it is. */
const CONTROL = /[^ -\uffff]/;
/** The key of an object in Python's notation or JavaScript's. */
const OTHER_KEY = /(?:'(?:[^'\\\n]|\\.){0,64}'|[A-Za-z_$][\w$]{0,64})[ \t]*:/y;

/** The outermost JSON objects and lists in a text, in order, whatever stands around them. */
export function jsonValuesIn(text: string): Range[] {
  return jsonRangesIn(text).filter(({ hasSlip }) => !hasSlip);
}

/**
 * The outermost objects and lists in a text that are JSON, or JSON with slips that `mendedText` mends. An object with any other fault,
 * one that was cut included, is passed over as a whole: a part of it is not the value that the text has.
 *
 * Linear: a bracket of prose is left at the first character that JSON does not allow there, and the search goes on from
 * that character. Only the last string before it is read again, as it may have begun at a quotation mark of prose.
 */
export function jsonRangesIn(text: string): Range[] {
  const found: Range[] = [];
  const opening = /[{[]/g;
  while (opening.test(text)) {
    const { values, next } = scan(text, opening.lastIndex - 1);
    for (const value of values) found.push(value);
    opening.lastIndex = next;
  }
  return found;
}

/** The range of a text that is one JSON value as a whole, as far as a scan can say without parsing it; else null. */
export function wholeJson(text: string): Range | null {
  const first = text[0];
  if (first === "{" || first === "[") {
    const [value] = scan(text, 0).values;
    return value?.from === 0 && value.to === text.length ? value : null;
  }
  const end = first === '"' ? stringEnd(text, 0) : endOf(SCALAR, text, 0);
  return end === text.length ? { from: 0, to: end, hasSlip: CONTROL.test(text) } : null;
}

/** Reads from an opening bracket to its closing one, or to what JSON does not allow: then `values` are the complete parts of prose. */
function scan(text: string, from: number): { values: Range[]; next: number } {
  const stack: Open[] = [];
  let stringFrom: number | null = null;
  for (let at = from; ; at = afterSpace(text, at)) {
    const top = stack.at(-1);
    const char = text[at];
    if (top !== undefined && closes(top, char)) {
      at += 1;
      stack.pop();
      const range = { from: top.from, to: at, hasSlip: top.hasSlip || isAfterComma(top) };
      const outer = stack.at(-1);
      if (outer === undefined) return { values: [range], next: at };
      outer.inner.push(range);
      outer.hasSlip ||= range.hasSlip;
      outer.expected = "comma";
    } else if ((char === "{" || char === "[") && takesValue(top)) {
      // Its inner parts are not the value that the text has.
      if (stack.length === MAX_DEPTH) return { values: [], next: closingOf(text, from) };
      const isObject = char === "{";
      stack.push({ from: at, isObject, expected: "first", hasKey: false, hasSlip: false, inner: [] });
      at += 1;
    } else {
      const end = top === undefined ? null : token(text, at, top);
      if (end === null) return partsOf(text, stack, { at, stringFrom });
      stringFrom = char === '"' ? at + 1 : null;
      at = end;
    }
  }
}

/** What a scan has found that ends at `at`, because JSON does not allow what stands there. */
function partsOf(
  text: string,
  stack: readonly Open[],
  { at, stringFrom }: { at: number; stringFrom: number | null },
): { values: Range[]; next: number } {
  const top = stack.at(-1);
  const hasOtherKey = top !== undefined && takesKey(top) && endOf(OTHER_KEY, text, at) !== null;
  const faulty = stack.findIndex((open) => open.hasKey || (open === top && hasOtherKey));
  const object = stack[faulty];
  if (object === undefined) return { values: stack.flatMap(({ inner }) => inner), next: stringFrom ?? at };
  return {
    values: stack.slice(0, faulty).flatMap(({ inner }) => inner),
    next: closingOf(text, object.from),
  };
}

/** The end of a value that is too deep or has a fault: after the bracket that closes it, else the end of the text. */
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

function closes(open: Open, char: string | undefined): boolean {
  const isOver = open.expected === "first" || open.expected === "comma" || isAfterComma(open);
  return isOver && char === (open.isObject ? "}" : "]");
}

/** Whether the last character that was read is a comma of this object or list. */
function isAfterComma({ isObject, expected }: Open): boolean {
  return expected === (isObject ? "key" : "value");
}

function takesKey({ isObject, expected }: Open): boolean {
  return isObject && (expected === "first" || expected === "key");
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
    open.hasKey ||= expected === "colon";
    return at + 1;
  }
  const isKey = takesKey(open);
  if (isKey && char !== '"') return null;
  const end = char === '"' ? stringEnd(text, at) : endOf(SCALAR, text, at);
  if (end === null) return null;
  open.hasSlip ||= char === '"' && CONTROL.test(text.slice(at, end));
  open.expected = isKey ? "colon" : "comma";
  return end;
}

/** The end of the string at `from`. A loop, because a regular expression keeps a place to go back to for each character. */
function stringEnd(text: string, from: number): number | null {
  for (let at = from + 1; at < text.length;) {
    const char = text[at] ?? "";
    if (char === '"') return at + 1;
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
