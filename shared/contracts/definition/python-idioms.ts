import { definedBy } from "./code-names.ts";
import { calledMethod, isNode } from "./code-nodes.ts";
import { wrongWord } from "./written-words.ts";
import type { CodeNode } from "./code-nodes.ts";

const EQUALITY = new Set(["==", "!=", "===", "!=="]);
export const NO_NEGATIVE_INDEX = "reads an item from the end as Python does, and JavaScript finds none";

/** The number in `list[-1]`; null: the node is something else. */
export function negativeIndexOf({ type, computed, property }: CodeNode): string | null {
  if (type !== "MemberExpression" || computed !== true || !isNode(property)) return null;
  const { argument } = property;
  if (property.type !== "UnaryExpression" || property["operator"] !== "-" || !isNode(argument)) return null;
  return typeof argument["value"] === "number" ? `-${argument["value"]}` : null;
}

/** Code that Python and JavaScript both execute, with different values: an imported definition may have it, and no step would fail. */
export function pythonIdioms(nodes: readonly CodeNode[]): { offset: number; message: string }[] {
  const defined = new Set(nodes.flatMap(definedBy));
  return nodes.flatMap((node) => {
    const message = idiomIn(node, defined);
    return message === null ? [] : [{ offset: Number(node["start"]), message }];
  });
}

function idiomIn(node: CodeNode, defined: ReadonlySet<string>): string | null {
  const index = negativeIndexOf(node);
  if (index !== null) return `${NO_NEGATIVE_INDEX}: write list.at(${index})`;
  const { type, operator, left, right } = node;
  if (type === "BinaryExpression" && operator === "+" && [left, right].some(isList)) {
    return "+ makes one text of two lists, as JavaScript adds them: write [...one, ...other]";
  }
  if (type === "BinaryExpression" && EQUALITY.has(String(operator))) {
    return wrongWord(left, literalOf(right), defined) ?? wrongWord(right, literalOf(left), defined);
  }
  const call = calledMethod(node);
  if (call?.name === "replace" && isText(firstOf(node["arguments"]))) {
    return "replace() of JavaScript replaces the first one alone, and Python's all of them: write replaceAll for all";
  }
  return call?.name === "split" && isEmpty(node["arguments"])
    ? "split() without an argument divides nothing: write trim().split(/\\s+/)"
    : null;
}

function literalOf(value: unknown): unknown {
  return isNode(value) && value.type === "Literal" ? value["value"] : undefined;
}

function isList(value: unknown): boolean {
  return isNode(value) && value.type === "ArrayExpression";
}

function firstOf(list: unknown): unknown {
  return Array.isArray(list) ? list[0] : undefined;
}

function isText(value: unknown): boolean {
  return isNode(value) && value.type === "Literal" && typeof value["value"] === "string";
}

function isEmpty(list: unknown): boolean {
  return Array.isArray(list) && list.length === 0;
}
