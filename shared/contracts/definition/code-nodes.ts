import { parse } from "acorn";
import { keptInJob } from "./kept-in-job.ts";

/** A part of parsed code: its `type` and its fields, as ESTree names them. */
export type CodeNode = { type: string; [field: string]: unknown };

/** The parser of all code of definitions. The tree is shared: nothing changes it. @throws SyntaxError, RangeError for what is nested too deep */
export const parseScript = keptInJob<CodeNode>((script) => ({
  ...parse(script, { ecmaVersion: 2025, sourceType: "script" }),
}));

/** All nodes of a whole script, by its tree. */
const nodesOfTree = new WeakMap<CodeNode, readonly CodeNode[]>();

/** All nodes of a script, in no order. `enters` returns whether the nodes inside of a node are included. */
export function nodesOf(root: CodeNode, enters?: (node: CodeNode) => boolean): readonly CodeNode[] {
  if (enters) return nodesIn(root, enters);
  const nodes = nodesOfTree.get(root) ?? nodesIn(root, () => true);
  nodesOfTree.set(root, nodes);
  return nodes;
}

function nodesIn(root: CodeNode, enters: (node: CodeNode) => boolean): CodeNode[] {
  const found: CodeNode[] = [];
  const pending: unknown[] = [root];
  while (pending.length > 0) {
    const next = pending.pop();
    if (Array.isArray(next)) addParts(pending, next);
    else if (isNode(next)) {
      found.push(next);
      if (enters(next)) addParts(pending, Object.values(next));
    }
  }
  return found;
}

/** Adds the parts that may be nodes or hold some: most fields of a node are texts and numbers. */
export function addParts(pending: unknown[], parts: readonly unknown[]): void {
  for (const part of parts) if (typeof part === "object" && part !== null) pending.push(part);
}

/** Whether a value is a node of parsed code. */
export function isNode(value: unknown): value is CodeNode {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

/** The method that a node calls as `object.name()`, and the offset of its name; null: it is no such call. */
export function calledMethod({
  type,
  callee,
}: CodeNode): { name: string; object: CodeNode; offset: number } | null {
  if (type !== "CallExpression" || !isNode(callee) || callee.type !== "MemberExpression") return null;
  const { object, property } = callee;
  if (callee["computed"] === true || !isNode(object) || !isNode(property)) return null;
  return { name: String(property["name"]), object, offset: Number(property["start"]) };
}
