import { ToolRejection } from "../engine/step-errors.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

const PLACEHOLDER = /\{([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}/g;

/**
 * Fills the placeholders of a tool's URL: `{field}` with an argument, `{data.a.b}` with a part of an argument. `data`
 * stands for the object of all arguments, unless an argument has that name. With `withQuery` the arguments that no
 * placeholder uses become the query.
 * @throws ToolRejection for a placeholder without a value, so that an agent's model can correct its call
 */
export function fillUrl(template: string, args: JsonObject, { withQuery }: { withQuery: boolean }): URL {
  const used = new Set<string>();
  const filled = template.replaceAll(PLACEHOLDER, (_, name: string) => {
    const parts = name.split(".");
    const path = parts[0] === "data" && !Object.hasOwn(args, "data") ? parts.slice(1) : parts;
    const value = valueAt(args, path);
    if (value === undefined || value === null) throw new ToolRejection(`the argument ${name} is missing`);
    used.add(path[0] ?? "");
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

function valueAt(value: Json, path: readonly string[]): Json | undefined {
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
