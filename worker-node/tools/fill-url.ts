import { ToolRejection } from "../engine/errors.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

const PLACE = /\{([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}/g;

/**
 * A tool's URL with its places filled: `{field}` by an argument, `{data.a.b}` by a part of one; where no argument is
 * called `data`, that word means all of them. Arguments that no place uses become the query if `withQuery`. A place
 * that nothing fills is a ToolRejection: whoever made the call can make it again.
 */
export function fillUrl(template: string, args: JsonObject, withQuery: boolean): URL {
  const used = new Set<string>();
  const filled = template.replaceAll(PLACE, (_, name: string) => {
    const path = name.split(".");
    const [first = "", ...rest] = path;
    const value = first === "data" && !Object.hasOwn(args, "data") ? at(args, rest) : at(args, path);
    if (value === undefined || value === null) throw new ToolRejection(`the argument ${name} is missing`);
    used.add(first === "data" && !Object.hasOwn(args, "data") ? (rest[0] ?? "") : first);
    return encodeURIComponent(textOf(value));
  });
  const url = new URL(filled);
  if (withQuery) {
    for (const [key, value] of Object.entries(args)) {
      if (!used.has(key) && value !== null) url.searchParams.append(key, textOf(value));
    }
  }
  return url;
}

function at(value: Json, path: readonly string[]): Json | undefined {
  return path.reduce<Json | undefined>(
    (inner, part) =>
      typeof inner === "object" && inner !== null && !Array.isArray(inner) && Object.hasOwn(inner, part)
        ? inner[part]
        : undefined,
    value,
  );
}

function textOf(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
