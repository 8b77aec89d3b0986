/** A place in a template: `{input}`, or `{state.a.b}` as `["a", "b"]`. Other braces are plain text. */
export type Place = { from: number; to: number; path: readonly string[] | "input" };

const PLACE = /\{(?:input|state\.([A-Za-z_][\w-]*(?:\.[\w-]+)*))\}/g;

/** The places of a template, in order. */
export function placesOf(template: string): Place[] {
  return [...template.matchAll(PLACE)].map((match) => ({
    from: match.index,
    to: match.index + match[0].length,
    path: match[1] === undefined ? "input" : match[1].split("."),
  }));
}
