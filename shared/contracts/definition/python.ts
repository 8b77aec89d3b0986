import { calledMethod, isNode } from "./code-nodes.ts";
import type { CodeNode } from "./code-nodes.ts";

/**
 * What Python has and JavaScript never: statements that begin a block with a colon, imports, and `for` inside of a list. It reads
 * each line once, however long.
 */
const PYTHON =
  /^[ \t]*(?:(?:def|elif|except|with|class|if|for|while|else|try|finally)\b[^({\n]*(?:\([^{\n]*)?:|import\s+\w[\w.]*[ \t]*(?:$|,|as\b)|from\s+[\w.]+\s+import\b|#)|\bfor\s+\w+(?:\s*,\s*\w+)?\s+in\b|\bf["']|\blambda\b|\b(?:not|and|or)\s/m;

/** For a program that is no JavaScript: what to write instead when it is Python, else nothing. */
export function pythonHint(program: string): string {
  return PYTHON.test(program)
    ? ". It looks like Python, which is not executed here: write JavaScript that reads state and sets result, such as result = state.items.filter((item) => item.price > 10).map((item) => item.name)"
    : "";
}

/** Methods that values of JSON have in Python, and neither in JavaScript nor by the prelude of the sandbox; and what to write instead. */
const METHODS: ReadonlyMap<string, string> = new Map([
  ["append", "push(value)"],
  ["capitalize", "text[0].toUpperCase() + text.slice(1)"],
  ["copy", "{ ...value } or [...value]"],
  ["extend", "push(...values)"],
  ["format", "a template literal"],
  ["items", "Object.entries(value)"],
  ["splitlines", 'split("\\n")'],
  ["title", "a function of your own"],
  ["update", "Object.assign(value, other)"],
]);

/** The calls of a script that only Python has, as an imported definition may: each fails the step. */
export function pythonCalls(nodes: readonly CodeNode[]): { offset: number; message: string }[] {
  const own = new Set(nodes.flatMap(methodOf));
  return nodes.flatMap((node) => {
    const call = calledMethod(node);
    if (call === null) return [];
    const { name, object, offset } = call;
    if (name === "join" && object.type === "Literal") {
      return [{ offset, message: "texts have no join(), as in Python: write list.join(text)" }];
    }
    const instead = METHODS.get(name);
    if (instead === undefined || own.has(name)) return [];
    return [{ offset, message: `${name}() is a method of Python: write ${instead}` }];
  });
}

/** The name of a method that the script itself defines. */
function methodOf(node: CodeNode): string[] {
  const { key } = node;
  const isMethod = ["Property", "MethodDefinition", "PropertyDefinition"].includes(node.type);
  return isMethod && isNode(key) ? [String(key["name"])] : [];
}
