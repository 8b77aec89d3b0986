/** The name by which a model calls a tool. All providers accept this form. */
export const TOOL_NAME = /^[A-Za-z_][A-Za-z0-9_-]{0,63}$/;

/** The most tools that a model is offered: providers take no more in a request. */
export const MAX_OFFERED_TOOLS = 128;

/** Stands for all tools of an MCP server: `github__*`. */
const ALL_OF_SERVER = /^([A-Za-z][A-Za-z0-9_-]{0,31})__\*$/;

/** What a list of tools may hold: names of tools, and `server__*`. */
export function isToolPattern(name: string): boolean {
  return TOOL_NAME.test(name) || ALL_OF_SERVER.test(name);
}

/** The MCP server in a tool's name: `github` in `github__search` and in `github__*`. Null: the name has none. */
export function serverIn(name: string): string | null {
  const end = name.indexOf("__");
  return end > 0 ? name.slice(0, end) : null;
}

/** Whether a name is `server__*`. */
export function isAllOfServer(name: string): boolean {
  return ALL_OF_SERVER.test(name);
}

/** Whether `pattern` is that name, or stands for it. */
export function coversTool(pattern: string, name: string): boolean {
  return pattern === name || (isAllOfServer(pattern) && name.startsWith(pattern.slice(0, -1)));
}

/** The tools that are in both lists. */
export function toolsInBoth(some: readonly string[], others: readonly string[]): string[] {
  const both = some.flatMap((one) =>
    others.flatMap((other) => (coversTool(one, other) ? [other] : coversTool(other, one) ? [one] : [])),
  );
  return [...new Set(both)];
}
