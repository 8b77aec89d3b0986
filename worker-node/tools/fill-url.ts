import { ToolRejection } from "../engine/step-errors.ts";
import { formFields } from "./form-fields.ts";
import { URL_PLACEHOLDER } from "../../shared/contracts/definition/index.ts";
import { textOrJson } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

const MAX_URL_CHARS = 1024 * 1024;

/**
 * Fills the placeholders of a tool's URL: `{field}` with an argument, `{data.a.b}` with a part of an argument. `data`
 * stands for the object of all arguments, unless an argument has that name. With `withQuery` the arguments that no
 * placeholder uses become the query.
 * @throws ToolRejection, so that an agent's model can correct its call. The reasons: a placeholder without a value; a value that would lead
 *   to another path than the template's; a URL of more than 1 Mi characters (code `template`)
 */
export function fillUrl(template: string, args: JsonObject, { withQuery }: { withQuery: boolean }): URL {
  const used = new Set<string>();
  const encoded = new Map<string, string>();
  let chars = template.length;
  const reserve = (text: string): void => {
    chars += text.length;
    if (chars > MAX_URL_CHARS) {
      throw new ToolRejection(`the URL would be longer than ${MAX_URL_CHARS} characters`, {
        code: "template",
      });
    }
  };
  const filled = template.replaceAll(URL_PLACEHOLDER, (_, name: string) => {
    const parts = name.split(".");
    const path = parts[0] === "data" && !Object.hasOwn(args, "data") ? parts.slice(1) : parts;
    const value = valueAt(args, path);
    if (value === undefined || value === null) throw new ToolRejection(`the argument ${name} is missing`);
    used.add(path[0] ?? "");
    const text = encoded.get(name) ?? encodeURIComponent(textOrJson(value).toWellFormed());
    encoded.set(name, text);
    reserve(text);
    return text;
  });
  refuseOtherPath(template, filled);
  const url = new URL(filled);
  if (withQuery) {
    for (const [key, text] of formFields(args)) {
      if (used.has(key)) continue;
      reserve(key + text);
      url.searchParams.append(key, text);
    }
  }
  return url;
}

/**
 * Refuses a value that changes the path. `.` and `..` would lead out of the template's path, and an empty value from a single thing to
 * the collection of all. A URL has no other way to write such a value, so it cannot be sent.
 */
function refuseOtherPath(template: string, filled: string): void {
  const segments = segmentsOf(filled);
  for (const [i, before] of segmentsOf(template).entries()) {
    const after = segments[i] ?? "";
    if (after === before || !/^(?:\.|%2e){0,2}$/i.test(after)) continue;
    const value = after === "" ? "empty" : JSON.stringify(after);
    throw new ToolRejection(`the part ${before} of the tool's URL must not be ${value}`);
  }
}

/** The parts between the slashes. No value adds a slash, a question mark or a hash: it is encoded. */
function segmentsOf(url: string): string[] {
  return url.replace(/[?#].*$/s, "").split("/");
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
