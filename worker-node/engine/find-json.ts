import { JsonValue } from "../../shared/contracts/json.ts";
import type { Json } from "../../shared/contracts/json.ts";

const FENCE = /```[A-Za-z0-9_-]*[ \t]*\r?\n([\s\S]*?)```/g;
/** Characters that a search for brackets may read in all. Text full of open brackets would be read again for each. */
const MAX_READ = 10_000_000;

/** The JSON values in a text: the whole text, else its fenced blocks, else its objects and lists in brackets. */
export function findJson(text: string): Json[] {
  const whole = parse(text.trim());
  if (whole !== undefined) return [whole];
  const fenced = [...text.matchAll(FENCE)]
    .map((match) => parse(match[1] ?? ""))
    .filter((value) => value !== undefined);
  return fenced.length > 0 ? fenced : inBrackets(text);
}

function parse(text: string): Json | undefined {
  try {
    const parsed = JsonValue.safeParse(JSON.parse(text));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

function inBrackets(text: string): Json[] {
  const found: Json[] = [];
  const opening = /[{[]/g;
  for (let read = 0; read < MAX_READ;) {
    const match = opening.exec(text);
    if (match === null) break;
    const end = closing(text, match.index);
    read += (end ?? text.length) - match.index;
    if (end === undefined) continue;
    const value = parse(text.slice(match.index, end));
    if (value === undefined) continue;
    found.push(value);
    opening.lastIndex = end;
  }
  return found;
}

/** The index after the bracket that closes the one at `from`. Brackets inside strings do not count. */
function closing(text: string, from: number): number | undefined {
  let depth = 0;
  let quoted = false;
  for (let at = from; at < text.length; at++) {
    const char = text[at];
    if (quoted) {
      if (char === "\\") at++;
      else if (char === '"') quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === "{" || char === "[") depth++;
    else if ((char === "}" || char === "]") && --depth === 0) return at + 1;
  }
  return undefined;
}
