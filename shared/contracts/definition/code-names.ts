import { likelyName } from "../../text/nearest-name.ts";
import { addParts, isNode } from "./code-nodes.ts";
import { WORD_FUNCTIONS } from "./condition.ts";
import type { CodeNode } from "./code-nodes.ts";

/**
 * The names that all code of a definition may use: the globals of the sandbox, which has no clock, network or modules.
 * A test compares them with the sandbox.
 */
export const SANDBOX_NAMES: readonly string[] = [
  ...WORD_FUNCTIONS,
  "state, True, False, None, len, str, int, float",
  "Object, Function, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError",
  "InternalError, AggregateError, Iterator, Array, parseInt, parseFloat, isNaN, isFinite, Infinity, NaN, undefined",
  "decodeURI, decodeURIComponent, encodeURI, encodeURIComponent, escape, unescape, Number, Boolean, String, Math",
  "Reflect, Symbol, eval, globalThis, BigInt, BigInt64Array, BigUint64Array, RegExp, JSON, Proxy, Map, Set, WeakMap",
  "WeakSet, ArrayBuffer, SharedArrayBuffer, Uint8ClampedArray, Int8Array, Uint8Array, Int16Array, Uint16Array",
  "Int32Array, Uint32Array, Float16Array, Float32Array, Float64Array, DataView, Promise, WeakRef",
  "FinalizationRegistry",
].flatMap((line) => line.split(", "));

/** The names that every function has besides its parameters. */
const IN_FUNCTIONS = ["arguments"];
const KNOWN: ReadonlySet<string> = new Set([...SANDBOX_NAMES, ...IN_FUNCTIONS]);
/** A script that uses one of these may define names that its text does not show. */
export const NAME_MAKERS: ReadonlySet<string> = new Set(["eval", "Function", "globalThis"]);

/** What JavaScript has in place of the functions of Python that conditions of imported definitions call. */
const OF_PYTHON: ReadonlyMap<string, string> = new Map([
  ["abs", "Math.abs"],
  ["all", "list.every"],
  ["any", "list.some"],
  ["bool", "Boolean"],
  ["isinstance", "typeof"],
  ["max", "Math.max"],
  ["min", "Math.min"],
  ["pow", "Math.pow"],
  ["reversed", "list.toReversed"],
  ["round", "Math.round"],
  ["sorted", "list.toSorted"],
  ["sum", "list.reduce"],
]);

/** A name that nothing defines, and the offset of its first use in the script. `nearest` compares it with all that are defined. */
type UnboundName = { name: string; offset: number; nearest(): string | null };

/**
 * The names that a script uses and that neither it nor the sandbox defines: a use of one fails the step. A name counts as
 * defined wherever the script defines or sets it. Uses in `typeof`, and in a `try` with a `catch`, do not count: they may fail.
 *
 * @param nodes all nodes of the script
 * @param keys keys of state, which code reads as `state.key`: one of them is suggested for a name that is like it
 * @param variables names that this script has besides those of the sandbox
 */
export function unboundNames(
  { script, nodes }: { script: CodeNode; nodes: readonly CodeNode[] },
  keys: ReadonlySet<string>,
  variables: readonly string[],
): UnboundName[] {
  const mayMakeNames = nodes.some(
    ({ type, name }) => type === "WithStatement" || (type === "Identifier" && NAME_MAKERS.has(String(name))),
  );
  if (mayMakeNames || nodes.some(({ type }) => type === "ThisExpression")) return [];
  const defined = new Set([...variables, ...nodes.flatMap(definedBy)]);
  const found = new Map<string, number>();
  for (const { name, offset } of usedNames(script)) {
    if (defined.has(name) || KNOWN.has(name)) continue;
    found.set(name, Math.min(offset, found.get(name) ?? offset));
  }
  return [...found].map(([name, offset]) => ({
    name,
    offset,
    nearest: () => nearestOf(name, defined, keys),
  }));
}

function nearestOf(name: string, defined: ReadonlySet<string>, keys: ReadonlySet<string>): string | null {
  if (keys.has(name)) return `state.${name}`;
  if (name === "input" || name === "message") return "state.user_input";
  const nearest = OF_PYTHON.get(name) ?? likelyName(name, [...defined, ...SANDBOX_NAMES]);
  if (nearest !== null) return nearest;
  const key = likelyName(name, [...keys]);
  return key === null ? null : `state.${key}`;
}

/** The names that a node defines, or sets: outside of strict mode a name that is set exists. */
export function definedBy(node: CodeNode): string[] {
  switch (node.type) {
    case "VariableDeclarator":
    case "ClassDeclaration":
    case "ClassExpression":
      return namesIn(node["id"]);
    case "FunctionDeclaration":
    case "FunctionExpression":
    case "ArrowFunctionExpression":
      return [...namesIn(node["id"]), ...namesIn(node["params"])];
    case "CatchClause":
      return namesIn(node["param"]);
    case "AssignmentExpression":
      return node["operator"] === "=" ? namesIn(node["left"]) : [];
    case "ForInStatement":
    case "ForOfStatement":
      return namesIn(node["left"]);
    default:
      return [];
  }
}

/** The names of a pattern: of a parameter, a declaration or what is assigned to. */
function namesIn(pattern: unknown): string[] {
  if (Array.isArray(pattern)) return pattern.flatMap(namesIn);
  if (!isNode(pattern)) return [];
  switch (pattern.type) {
    case "Identifier":
      return [String(pattern["name"])];
    case "ObjectPattern":
      return namesIn(pattern["properties"]);
    case "Property":
      return namesIn(pattern["value"]);
    case "ArrayPattern":
      return namesIn(pattern["elements"]);
    case "AssignmentPattern":
      return namesIn(pattern["left"]);
    case "RestElement":
      return namesIn(pattern["argument"]);
    default:
      return [];
  }
}

function usedNames(script: CodeNode): { name: string; offset: number }[] {
  const used: { name: string; offset: number }[] = [];
  const pending: unknown[] = [script];
  while (pending.length > 0) {
    const next = pending.pop();
    if (Array.isArray(next)) addParts(pending, next);
    else if (isNode(next)) {
      if (next.type === "Identifier")
        used.push({ name: String(next["name"]), offset: Number(next["start"]) });
      else addParts(pending, usingParts(next));
    }
  }
  return used;
}

/** The parts of a node in which an identifier is the use of a name. Left out are keys, labels, and code that may fail. */
function usingParts(node: CodeNode): unknown[] {
  const without = (field?: string): unknown[] => {
    const part = field === undefined ? undefined : node[field];
    return Object.values(node).filter((value) => value !== part || part === undefined);
  };
  switch (node.type) {
    case "MemberExpression":
      return node["computed"] === true ? without() : without("property");
    case "Property":
    case "MethodDefinition":
    case "PropertyDefinition":
      return node["computed"] === true ? without() : without("key");
    case "LabeledStatement":
    case "BreakStatement":
    case "ContinueStatement":
      return without("label");
    case "MetaProperty":
      return [];
    case "UnaryExpression":
      return node["operator"] === "typeof" &&
        isNode(node["argument"]) &&
        node["argument"].type === "Identifier"
        ? []
        : without();
    case "TryStatement":
      return isNode(node["handler"]) ? without("block") : without();
    default:
      return without();
  }
}
