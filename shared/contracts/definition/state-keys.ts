import { isNode, nodesOf, parseScript } from "./code-nodes.ts";
import type { CodeNode } from "./code-nodes.ts";

/** The keys that a script reads as `state.key` or `state["key"]`, without those that it sets itself. */
export function stateKeysReadBy(script: CodeNode): Set<string> {
  const nodes = nodesOf(script);
  const assigned = new Set(
    nodes.flatMap(({ type, left }) => (type === "AssignmentExpression" && isNode(left) ? [keyOf(left)] : [])),
  );
  const keys = nodes.flatMap((node) => (node["optional"] === true ? [] : (keyOf(node) ?? [])));
  return new Set(keys.filter((key) => !assigned.has(key) && !isMethod(key)));
}

/** Words of a script that may reach `state` under another name. */
const OTHER_MEANS = /\\[ux]|\b(?:eval|Function|constructor|globalThis|this)\b/;

/**
 * The keys of state that a script can reach; null: any key. It reaches one alone by `state.key`, `state["key"]` or `state.get("key")`, as
 * long as `state` stands nowhere else.
 */
export function stateKeysReachedBy(script: string): ReadonlySet<string> | null {
  if (OTHER_MEANS.test(script)) return null;
  const nodes = nodesOf(parsed(script) ?? { type: "Unreadable", name: "state" });
  const gets = new Map(nodes.flatMap(keyOfGet));
  const keys = nodes.flatMap((node) => gets.get(node) ?? keyOf(node) ?? []);
  const mentions = nodes.filter(({ name }) => name === "state").length;
  return keys.length === mentions && !keys.some(isMethod) ? new Set(keys) : null;
}

/** The script as parsed; null: a version that was saved before code was checked. */
function parsed(script: string): CodeNode | null {
  try {
    return parseScript(script);
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return null;
    throw error;
  }
}

/** What every object has, `get` of the sandbox among them. */
function isMethod(key: string): boolean {
  return key === "get" || key in Object.prototype;
}

function keyOf({ type, object, property, computed }: CodeNode): string | null {
  if (type !== "MemberExpression" || !isNode(object) || !isNode(property)) return null;
  if (object.type !== "Identifier" || object["name"] !== "state") return null;
  const key = computed === true ? property["value"] : property["name"];
  return typeof key === "string" ? key : null;
}

/** For a call `state.get("key")` the node of `state.get`, and the key. */
function keyOfGet({ type, callee, arguments: args }: CodeNode): [CodeNode, string][] {
  if (type !== "CallExpression" || !isNode(callee) || keyOf(callee) !== "get" || !Array.isArray(args))
    return [];
  const first: unknown = args[0];
  return isNode(first) && typeof first["value"] === "string" ? [[callee, first["value"]]] : [];
}
