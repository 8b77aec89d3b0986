import { trimMarks } from "../engine/trim-marks.ts";

/**
 * The tool that a model means by the name that it wrote. Models and gateways put a namespace before a name (`functions.lookup`,
 * `mcp__server__lookup`), write a call or a mark after it (`lookup()`, `lookup:0`, `lookup<|channel|>…`), quote it, and change
 * its case or its hyphens. A name that fits no tool, or more than one, is returned as it was written.
 * @param tools the names of the tools that the model was offered
 */
export function toolNameOf(written: string, tools: readonly string[]): string {
  if (tools.includes(written)) return written;
  const name = written
    .replaceAll(/<\|[^|]*\|>(?=\w)/g, (mark, at: number) => (at === 0 ? "" : mark))
    .replace(/[(<{[].*$/s, "");
  const bare = trimMarks(name, { start: "\"'`*", end: "\"'`*" });
  const unnumbered = bare.replace(/[:.#]\d+$/, "");
  const last = unnumbered.split(/[.:/\\]|__/).at(-1) ?? "";
  const withoutAffix = last.replaceAll(/^(?:tools?|functions?)[_-]|[_-](?:tool|function|call)$/gi, "");
  for (const read of [bare, unnumbered, last, withoutAffix]) {
    const wanted = plain(read);
    const fitting = tools.filter((tool) => plain(tool) === wanted);
    if (fitting.length === 1 && fitting[0] !== undefined) return fitting[0];
    if (fitting.length > 1) break;
  }
  return bare === "" ? written : bare;
}

/** `getWeather`, `get_weather` and `Get-Weather` are one name. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[-_\s]/g, "");
}

/** A name as every provider takes it back in a conversation: letters, digits, `_` and `-`, at most 64 of them. */
export function sendableName(name: string): string {
  return name.replaceAll(/[^\w-]/g, "_").slice(0, 64) || "unnamed";
}
