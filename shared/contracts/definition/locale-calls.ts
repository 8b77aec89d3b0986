import { calledMethod } from "./code-nodes.ts";
import type { CodeNode } from "./code-nodes.ts";

/** Methods whose results depend on a locale in browsers and in Node, and what they give in the sandbox, which has no locales. */
const METHODS: ReadonlyMap<string, string> = new Map([
  [
    "toLocaleString",
    "what toString() gives, without groups of digits and with a point: format the number in code",
  ],
  ["localeCompare", "the order of code points, in which Z is before a and ä after z, whatever the locale"],
  ["toLocaleUpperCase", "what toUpperCase() gives, whatever the locale"],
  ["toLocaleLowerCase", "what toLowerCase() gives, whatever the locale"],
]);

/** The calls of a script whose results would follow a locale elsewhere: they do not fail, and give another text or order here. */
export function localeCalls(nodes: readonly CodeNode[]): { offset: number; message: string }[] {
  return nodes.flatMap((node) => {
    const call = calledMethod(node);
    const gives = call === null ? undefined : METHODS.get(call.name);
    if (call === null || gives === undefined) return [];
    return [{ offset: call.offset, message: `${call.name}() gives ${gives}` }];
  });
}
