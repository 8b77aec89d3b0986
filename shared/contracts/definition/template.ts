import { nearestName } from "../../text/nearest-name.ts";

/**
 * A placeholder in a template: `{input}` with an empty path, `{state.a.b}` with the path `["a", "b"]`, and in a loop `{index}`
 * and `{item.a}`, whose paths begin with their own name (`of` is `loop`). Spaces inside the braces do not matter. Other braces
 * are plain text.
 */
export type Placeholder = {
  from: number;
  to: number;
  of: "input" | "state" | "loop";
  path: readonly string[];
};

const PLACEHOLDER =
  /\{[ \t]*(?:input|state\.([A-Za-z_][\w-]*(?:\.[\w-]+)*)|(index|item(?:\.[\w-]+)*))[ \t]*\}/g;
/** A word in braces, of letters of any alphabet and invisible characters, that stands alone, or that is followed by a dot or a bracket. */
const WORD =
  /\{\s{0,10}([\p{L}\p{Cf}]{1,20})(?:\s{0,10}(?:(\.)\s{0,10}[^\s.{}]|(\[))[^{}]{0,100}|\s{0,10}(?=\}))\}?/gu;

/** English words that are spelled almost like `state`: they are no misspellings of it. */
export const WORDS_LIKE_STATE: ReadonlySet<string> = new Set([
  "stage",
  "stake",
  "stale",
  "stat",
  "stats",
  "slate",
  "skate",
]);

/** The placeholders of a template, in order. @param inLoop false: `{item}` and `{index}` are plain text */
export function placeholdersOf(template: string, inLoop = false): Placeholder[] {
  return [...template.matchAll(PLACEHOLDER)].flatMap((match): Placeholder[] => {
    const [text, ofState, ofLoop] = match;
    const place = { from: match.index, to: match.index + text.length };
    if (ofState !== undefined) return [{ ...place, of: "state", path: ofState.split(".") }];
    if (ofLoop === undefined) return [{ ...place, of: "input", path: [] }];
    return inLoop ? [{ ...place, of: "loop", path: ofLoop.split(".") }] : [];
  });
}

/**
 * Misspelled placeholders, which would be sent as text: `{inptu}`, `{State.x}`, `{state[0]}`, `{state.x!r}`. Words are
 * compared with `input` and `state` alone, so that JSON and code in a template stay text.
 */
export function misspelledPlaceholdersIn(template: string): string[] {
  const exact = new Set(placeholdersOf(template).map(({ from }) => from));
  return [...template.matchAll(WORD)].flatMap((match) => {
    const [text, word = "", dot, bracket] = match;
    const leads = dot !== undefined || bracket !== undefined;
    const words = leads ? ["state", "input"] : ["input"];
    // These characters belong to a statement of a program in a prompt.
    if (WORDS_LIKE_STATE.has(word.toLowerCase()) || /[;=\n]/.test(text)) return [];
    const isNear = (nearestName(word, words)?.distance ?? 2) <= 1;
    return isNear && !exact.has(match.index) ? [text] : [];
  });
}
