/** Breaks a script of the queue at one place, to prove that a test notices. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectFolder } from "../../../local/processes/programs.ts";
import type { Rewrite } from "./timed.ts";

/** In `file`, `to` takes the place of `from`. White space, line breaks and comments between the tokens do not matter. */
export type Mutation = { file: string; from: string; to: string };

/** The number of places in its file where a mutation applies. It must be 1: else it breaks nothing, or several things. */
export function countPlaces({ file, from }: Mutation): number {
  return [...textOf(file).matchAll(patternOf(from))].length;
}

/** The rewriting that breaks every script which contains the file. */
export function rewriteOf(mutation: Mutation): Rewrite {
  const places = countPlaces(mutation);
  if (places !== 1) throw new Error(`${mutation.file} has ${places} places like ${mutation.from}`);
  const text = textOf(mutation.file);
  const broken = text.replace(patternOf(mutation.from), () => mutation.to);
  return (source) => source.replace(text, () => broken);
}

function textOf(file: string): string {
  return readFileSync(join(projectFolder, "shared/queue", file), "utf8");
}

const TOKENS = /"[^"]*"|\w+|[^\s\w]/g;
const GAP = String.raw`(?:\s|--[^\n]*\n)*`;

/** Matches the tokens of Lua code, whatever is between them that has no meaning. */
function patternOf(code: string): RegExp {
  const tokens = (code.match(TOKENS) ?? []).map((token) => {
    const literal = token.replace(/[^\w"\s]/g, String.raw`\$&`);
    return /^\w/.test(token) ? String.raw`\b${literal}\b` : literal;
  });
  return new RegExp(tokens.join(GAP), "g");
}
