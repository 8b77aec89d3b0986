/**
 * A placeholder in a template: `{input}`, or `{state.a.b}` with the path `["a", "b"]`. Other braces are plain text.
 */
export type Placeholder = { from: number; to: number; path: readonly string[] | "input" };

const PLACEHOLDER = /\{(?:input|state\.([A-Za-z_][\w-]*(?:\.[\w-]+)*))\}/g;

/** The placeholders of a template, in order. */
export function placeholdersOf(template: string): Placeholder[] {
  return [...template.matchAll(PLACEHOLDER)].map((match) => ({
    from: match.index,
    to: match.index + match[0].length,
    path: match[1] === undefined ? "input" : match[1].split("."),
  }));
}
