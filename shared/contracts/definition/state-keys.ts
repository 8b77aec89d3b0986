import { isNode, nodesOf } from "./code-nodes.ts";
import type { CodeNode } from "./code-nodes.ts";

/** The keys that a script reads as `state.key` or `state["key"]`, without those that it sets itself. */
export function stateKeysReadBy(script: CodeNode): Set<string> {
  const nodes = nodesOf(script);
  const assigned = new Set(
    nodes.flatMap(({ type, left }) => (type === "AssignmentExpression" && isNode(left) ? [keyOf(left)] : [])),
  );
  const keys = nodes.flatMap((node) => keyOf(node) ?? []);
  // Methods of every object, `get` among them.
  return new Set(keys.filter((key) => !assigned.has(key) && key !== "get" && !(key in Object.prototype)));
}

function keyOf({ type, object, property, computed, optional }: CodeNode): string | null {
  if (type !== "MemberExpression" || optional === true || !isNode(object) || !isNode(property)) return null;
  if (object.type !== "Identifier" || object["name"] !== "state") return null;
  const key = computed === true ? property["value"] : property["name"];
  return typeof key === "string" ? key : null;
}
