import type { CodeNode } from "./code-nodes.ts";

/** An integer of a script whose digits a number cannot hold, and what it becomes. */
type LongLiteral = { digits: string; becomes: string; offset: number };

/** The integers of a script that are read with other digits, or as Infinity. Only integers count: decimals are rounded by design. */
export function longLiterals(nodes: readonly CodeNode[]): LongLiteral[] {
  return nodes.flatMap(({ type, value, raw, start }) => {
    if (type !== "Literal" || typeof value !== "number" || typeof raw !== "string") return [];
    const digits = raw.replaceAll("_", "");
    const isInteger = /^(?:[1-9]\d*|0[xob][\da-f]+)$/i.test(digits);
    const isKept = Number.isFinite(value) && (!isInteger || BigInt(digits) === BigInt(value));
    return isKept ? [] : [{ digits: raw, becomes: String(value), offset: Number(start) }];
  });
}
