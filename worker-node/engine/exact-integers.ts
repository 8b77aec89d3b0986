import { parse } from "acorn";
import type { Token } from "acorn";
import { isNode, nodesOf } from "../../shared/contracts/definition/code-nodes.ts";
import type { CodeNode } from "../../shared/contracts/definition/code-nodes.ts";

// Integers beyond 2^53 are texts of their digits for code. JavaScript would join such a text with a number (+) or round it (all other
// operators), and the run would go on with a wrong number. So where state has one, code is rewritten before it runs: operators become
// calls of `__exact`, which compares these integers exactly and fails for arithmetic.

/**
 * Whether a JSON text may have an integer of so many digits, as a text or inside of one. Nearly no state has. The digits after a decimal
 * point, of which 0.30000000000000004 has 17, are none: rewritten code needs several times the processor time.
 */
export function mayHaveLongInteger(json: string): boolean {
  return /(?<![0-9]|[0-9]\.)[0-9]{16}/.test(json);
}

const ARITHMETIC = ["+", "-", "*", "/", "%", "**", "&", "|", "^", "<<", ">>", ">>>"];
const COMPARISONS = ["<", ">", "<=", ">=", "==", "!="];
const OPERATORS: ReadonlySet<string> = new Set([...ARITHMETIC, ...COMPARISONS]);
const ASSIGNING: ReadonlySet<string> = new Set(ARITHMETIC.map((operator) => `${operator}=`));
const SIGNS: ReadonlySet<string> = new Set(["+", "-", "~"]);

const MAX_SHOWN_CHARS = 80;

/** A script and its tokens, in order. */
type Source = { script: string; tokens: readonly Token[] };

/**
 * `text` takes the place of the script's characters from `from` to `to`. `ends`: it closes its node; `size`: the characters of the node.
 */
type Edit = { from: number; to: number; text: string; ends: boolean; size: number };

/**
 * A script whose operators are calls of `__exact`. The operators of `a + b - c` become one call, so that a long sum is no deep nest of
 * calls; one operator is a call of `__exact.once`, which is faster. A script that acorn does not parse stays as it is: QuickJS then says what is wrong.
 */
export function withExactIntegers(script: string): string {
  const tokens: Token[] = [];
  const root = parsed(script, tokens);
  if (root === null) return script;
  const source = { script, tokens };
  const nodes = nodesOf(root);
  const spines = new Set(nodes.flatMap((node) => (isGuarded(node) ? [leftOperand(node)] : [])));
  const edits = nodes.flatMap((node) => {
    if (isGuarded(node)) return spines.has(node) ? operatorEdits(node, source) : binaryEdits(node, source);
    return otherEdits(node, source);
  });
  return edited(script, edits);
}

function parsed(script: string, onToken: Token[]): CodeNode | null {
  try {
    return { ...parse(script, { ecmaVersion: 2025, sourceType: "script", onToken }) };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return null;
    throw error;
  }
}

function isGuarded({ type, operator }: CodeNode): boolean {
  return type === "BinaryExpression" && OPERATORS.has(String(operator));
}

/** The left operand, if it belongs to the same call; one in brackets begins after its bracket, and is a call of its own. */
function leftOperand(node: CodeNode): CodeNode | null {
  const { left, start } = node;
  return isNode(left) && isGuarded(left) && left["start"] === start ? left : null;
}

function binaryEdits(node: CodeNode, { script, tokens }: Source): Edit[] {
  return [
    beginning(node, 0, ` __exact${leftOperand(node) === null ? ".once" : ""}(${shown(node, script)},`),
    ...operatorEdits(node, { script, tokens }),
    ending(node),
  ];
}

function operatorEdits(node: CodeNode, { script, tokens }: Source): Edit[] {
  const { left, right, operator } = node;
  if (!isNode(left) || !isNode(right)) return [];
  const token = tokenBetween({ script, tokens }, endOf(left), startOf(right), String(operator));
  return token === null ? [] : [inPlaceOf(token, `,"${String(operator)}",`)];
}

/** The edits of `-x`, `x++` and `x += y`. A target with a call in it is left alone: it would be evaluated twice. */
function otherEdits(node: CodeNode, { script, tokens }: Source): Edit[] {
  const { type, operator, argument, left, right } = node;
  const text = shown(node, script);
  if (type === "UnaryExpression" && SIGNS.has(String(operator))) {
    return [beginning(node, 1, ` __exact.sign(${text},"${String(operator)}",`), ending(node)];
  }
  if (type === "UpdateExpression" && isNode(argument) && isSimple(argument)) {
    const source = script.slice(startOf(argument), endOf(argument));
    const call = ` __exact.second(__exact.check(${text},${source}),`;
    return [beginning(node, 0, call), ending(node)];
  }
  if (type !== "AssignmentExpression" || !ASSIGNING.has(String(operator))) return [];
  if (!isNode(left) || !isNode(right) || !isSimple(left)) return [];
  const token = tokenBetween({ script, tokens }, endOf(left), startOf(right), String(operator));
  if (token === null) return [];
  const source = script.slice(startOf(left), endOf(left));
  const call = `= __exact.once(${text},${source},"${String(operator).slice(0, -1)}",`;
  return [inPlaceOf(token, call), ending(node)];
}

/** Whether reading a target twice does nothing else: a name, or a path of names and constants. */
function isSimple(node: CodeNode): boolean {
  return nodesOf(node).every(({ type }) =>
    ["Identifier", "MemberExpression", "ThisExpression", "Literal"].includes(type),
  );
}

/** The token of an operator: between its operands, apart from it, are brackets and comments. */
function tokenBetween({ script, tokens }: Source, from: number, to: number, operator: string): Token | null {
  let low = 0;
  let high = tokens.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((tokens[middle]?.start ?? Infinity) < from) low = middle + 1;
    else high = middle;
  }
  for (let token = tokens[low]; token !== undefined && token.start < to; token = tokens[++low]) {
    if (script.slice(token.start, token.end) === operator) return token;
  }
  return null;
}

function shown(node: CodeNode, script: string): string {
  const text = script.slice(startOf(node), Math.min(endOf(node), startOf(node) + MAX_SHOWN_CHARS));
  return JSON.stringify(text.trim());
}

/** @param chars how many of the node's first characters it replaces */
function beginning(node: CodeNode, chars: number, text: string): Edit {
  const from = startOf(node);
  return { from, to: from + chars, text, ends: false, size: endOf(node) - from };
}

function ending(node: CodeNode): Edit {
  const at = endOf(node);
  return { from: at, to: at, text: ")", ends: true, size: at - startOf(node) };
}

function inPlaceOf({ start, end }: Token, text: string): Edit {
  return { from: start, to: end, text, ends: false, size: end - start };
}

function startOf(node: CodeNode): number {
  return Number(node["start"]);
}

function endOf(node: CodeNode): number {
  return Number(node["end"]);
}

function edited(script: string, edits: readonly Edit[]): string {
  const parts: string[] = [];
  let at = 0;
  for (const { from, to, text } of edits.toSorted(byPlace)) {
    parts.push(script.slice(at, from), text);
    at = to;
  }
  parts.push(script.slice(at));
  return parts.join("");
}

/** At the same place nodes end before others begin; of those that end the inner one is first, of those that begin the outer one. */
function byPlace(one: Edit, other: Edit): number {
  if (one.from !== other.from) return one.from - other.from;
  if (one.ends !== other.ends) return one.ends ? -1 : 1;
  return one.ends ? one.size - other.size : other.size - one.size;
}

/**
 * Defines `__exact`, after the prelude: `__exact(text, a, "+", b, "-", c)` is `a + b - c`, and `text` its source for errors. Functions that
 * make numbers of texts refuse these integers too.
 */
export const EXACT = `
(() => {
  const LONG = /^-?[1-9][0-9]{15,}$/, { apply } = Reflect, asBigInt = BigInt, asText = String, asNumber = Number;
  const isLong = (value) => typeof value === "string" && LONG.test(value) && asText(asNumber(value)) !== value;
  const isNumeric = (value) => typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
  const exact = (value) => isLong(value) ? asBigInt(value) : value;
  const refuse = (text, value) => {
    throw new TypeError("in " + text + ", " + value + " is an integer beyond 2^53 and therefore a text, with which numbers would be "
      + "joined or rounded: calculate as in BigInt(state.key) + 1n, and make a text of the result by String()");
  };
  const COMPARISONS = { __proto__: null, "<": 1, ">": 1, "<=": 1, ">=": 1, "==": 1, "!=": 1 };
  const plain = (a, operator, b) => {
    switch (operator) {
      case "<": return a < b;
      case ">": return a > b;
      case "<=": return a <= b;
      case ">=": return a >= b;
      case "==": return a == b;
      case "!=": return a != b;
      case "+": return a + b;
      case "-": return a - b;
      case "*": return a * b;
      case "/": return a / b;
      case "%": return a % b;
      case "**": return a ** b;
      case "&": return a & b;
      case "|": return a | b;
      case "^": return a ^ b;
      case "<<": return a << b;
      case ">>": return a >> b;
      case ">>>": return a >>> b;
    }
  };
  const operated = (text, a, operator, b) => {
    const long = isLong(a) ? a : isLong(b) ? b : null;
    if (long === null) return plain(a, operator, b);
    const isOfNumbers = isNumeric(a) || isNumeric(b);
    if (operator in COMPARISONS) {
      const isOrder = operator[0] === "<" || operator[0] === ">";
      return isOfNumbers || (isOrder && isLong(a) && isLong(b))
        ? plain(exact(a), operator, exact(b)) : plain(a, operator, b);
    }
    if (operator !== "+" || isOfNumbers) refuse(text, long);
    return a + b;
  };
  // Loops calculate with numbers nearly always: a call costs as little as it can for them.
  const once = (text, a, operator, b) =>
    typeof a === "string" || typeof b === "string" ? operated(text, a, operator, b) : plain(a, operator, b);
  const chain = (text, a, operator, b, ...rest) => {
    let value = once(text, a, operator, b);
    for (let i = 0; i < rest.length; i += 2) value = once(text, value, rest[i], rest[i + 1]);
    return value;
  };
  const check = (text, value) => { if (isLong(value)) refuse(text, value); };
  const sign = (text, operator, value) => {
    check(text, value);
    return operator === "-" ? -value : operator === "~" ? ~value : +value;
  };
  Object.defineProperty(globalThis, "__exact", { value: Object.assign(chain, { once, check, sign, second: (_, value) => value }) });
  const guarded = (holder, name) => {
    // Without a prototype: the get of the prelude, which every object inherits, would be a trap.
    const handler = Object.create(null);
    handler.apply = (target, self, values) => {
      for (let i = 0; i < values.length; i++) check(name + "()", values[i]);
      return apply(target, self, values);
    };
    holder[name] = new Proxy(holder[name], handler);
  };
  for (const name of ["parseInt", "parseFloat"]) guarded(Number, name);
  for (const name of ["int", "float", "parseInt", "parseFloat", "Number"]) if (name in globalThis) guarded(globalThis, name);
  Number.prototype.constructor = Number;
  for (const name of Object.getOwnPropertyNames(Math)) if (typeof Math[name] === "function") guarded(Math, name);
})();
`;
