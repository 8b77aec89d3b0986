import { isNode } from "./code-nodes.ts";
import { negativeIndexOf, NO_NEGATIVE_INDEX } from "./python-idioms.ts";
import type { CodeNode } from "./code-nodes.ts";

const ORDER = new Set(["<", ">", "<=", ">="]);
const EQUALITY = new Set(["==", "!=", "===", "!=="]);

/**
 * The error of an expression that compiles and does not mean what is written; null: it has none.
 * @param nodes the nodes of its script, without those of function bodies. `isCondition`: it decides between two steps
 */
export function mistakeIn(
  nodes: readonly CodeNode[],
  { isCondition }: { isCondition: boolean },
): string | null {
  if (nodes.some(({ type }) => type === "AssignmentExpression")) {
    return "assigns a value with =, which changes nothing and is true for most values: compare with ==";
  }
  if (nodes.some(isFunctionWhole)) {
    return "is a function, and no value: write the expression that it returns";
  }
  if (isCondition && nodes.some(isQuotedWhole)) {
    return "is a text, which is true or false in every run alike: write the condition without quotes around it";
  }
  if (nodes.some(({ type }) => type === "SequenceExpression")) {
    return "has a comma between values, of which only the last one counts: join them with && or ||, or write x in [a, b]";
  }
  const [index] = nodes.map(negativeIndexOf).filter((one) => one !== null);
  if (index !== undefined) return `${NO_NEGATIVE_INDEX}: write list.at(${index})`;
  for (const node of nodes) {
    const mistake = node.type === "BinaryExpression" ? comparisonMistake(node) : null;
    if (mistake !== null) return mistake;
  }
  return null;
}

function isFunctionWhole({ type, expression }: CodeNode): boolean {
  if (type !== "ExpressionStatement" || !isNode(expression)) return false;
  return expression.type === "ArrowFunctionExpression" || expression.type === "FunctionExpression";
}

/** `'state.n > 3'`: the text is the statement itself. */
function isQuotedWhole({ type, expression }: CodeNode): boolean {
  if (type !== "ExpressionStatement" || !isNode(expression)) return false;
  if (expression.type === "Literal") return typeof expression["value"] === "string";
  const { expressions } = expression;
  return expression.type === "TemplateLiteral" && Array.isArray(expressions) && expressions.length === 0;
}

function comparisonMistake(node: CodeNode): string | null {
  const { operator, left, right } = node;
  if (typeof operator !== "string" || !isNode(left) || !isNode(right)) return null;
  // A comparison in brackets begins after its bracket: the author has seen that there are two.
  // So has the author of `a == b == true`, which compares the result with the only values that it can have.
  const isOfResult = right.type === "Literal" && typeof right["value"] === "boolean";
  const isChain = left.type === "BinaryExpression" && left["start"] === node["start"] && !isOfResult;
  const ofLeft = String(left["operator"]);
  if (
    isChain &&
    ((ORDER.has(operator) && ORDER.has(ofLeft)) || (EQUALITY.has(operator) && EQUALITY.has(ofLeft)))
  ) {
    return `compares the result of a comparison (${ofLeft} … ${operator}), and not one value twice: write a ${ofLeft} b && b ${operator} c`;
  }
  if (!EQUALITY.has(operator)) return null;
  const sides = [left, right];
  if (sides.some(({ type }) => type === "ArrayExpression" || type === "ObjectExpression")) {
    return `compares with a new list or object by ${operator}, and no value is the same as a new one: compare its length, or its parts`;
  }
  return sides.some(({ type, name }) => type === "Identifier" && name === "NaN")
    ? `compares with NaN by ${operator}, and nothing equals NaN: write Number.isNaN(x)`
    : null;
}
