import { limits } from "./fields.ts";
import { suggestions } from "../../text/nearest-name.ts";
import { isObject, objectOf } from "../json.ts";
import { expressionError } from "./code.ts";
import { withoutSecrets } from "./tool-secrets.ts";
import type { FieldError } from "../../errors.ts";
import type { JsonObject } from "../json.ts";
import type { HttpTool, Tool } from "./tool.ts";

/** A placeholder of a tool's URL: `{field}`, or `{data.a.b}` with a part of an argument. */
export const URL_PLACEHOLDER = /\{[ \t]*([A-Za-z_][\w-]*(?:\.[\w-]+)*)[ \t]*\}/g;

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Headers that are set for each call. */
const OWN_HEADERS: ReadonlySet<string> = new Set(["content-length", "transfer-encoding", "idempotency-key"]);

/** What is wrong with the URL and the headers of a tool: no call could be made, or another call than the author wrote. */
export function toolRequestErrors(tool: HttpTool): FieldError[] {
  const { url, headers, inputSchema } = tool;
  return [
    ...urlErrors(url),
    ...unknownArguments(url, inputSchema),
    ...headerErrors(headers),
    ...reconcileErrors(tool),
  ];
}

/** The placeholder of `reconcile.url` for the key of the call that is asked for. */
export const EFFECT_KEY = "effect_key";

/** What is wrong with the request that asks whether a call has happened. Its secrets are the tool's headers, and no others. */
function reconcileErrors({ url, reconcile, inputSchema }: HttpTool): FieldError[] {
  if (reconcile === null) return [];
  const at = "reconcile.url";
  const properties = { ...objectOf(inputSchema["properties"]), [EFFECT_KEY]: {} };
  const errors = [
    ...urlErrors(reconcile.url),
    ...unknownArguments(reconcile.url, { ...inputSchema, properties }),
  ].map(({ message }) => ({ path: at, message }));
  if (originOf(reconcile.url) !== originOf(url))
    errors.push({ path: at, message: "must have the scheme, the host and the port of the tool's url" });
  if (Object.keys(withoutSecrets({ url: reconcile.url }).secrets).length > 0)
    errors.push({ path: at, message: "must hold no secret: the request has the tool's headers" });
  const message = expressionError(reconcile.found);
  return message === null ? errors : [...errors, { path: "reconcile.found", message }];
}

function originOf(url: string): string | undefined {
  return URL.parse(url.replaceAll(URL_PLACEHOLDER, "x"))?.origin;
}

/** Warnings about the placeholders of other systems in a URL: `/:id` and `<id>` for an argument. */
function foreignPlaces(url: string, properties: readonly string[]): FieldError[] {
  return [...url.matchAll(/(?<=[/=]):(\w{1,100})|<(\w{1,100})>/g)].flatMap(([place, ofPath, ofTag]) => {
    const name = ofPath ?? ofTag ?? "";
    if (!properties.includes(name)) return [];
    return [{ path: "url", message: `${place} goes out as it is written: write {${name}}` }];
  });
}

/** Warnings about headers that end in what looks like a variable. The value may be a secret, so it is not in the message. */
function headerWarnings(headers: Readonly<Record<string, string>>): FieldError[] {
  return Object.entries(headers)
    .filter(([, value]) =>
      /(?:^|\s)(?:\$[A-Z_][A-Z0-9_]*|%[A-Z_][A-Z0-9_]*%|<[\w -]+>|\{[A-Za-z_][\w .:/>-]*\})$/.test(value),
    )
    .map(([name]) => ({
      path: `headers.${name}`,
      message: "ends in what looks like a variable, which is sent as it is written: send the value itself",
    }));
}

/**
 * Warnings about a tool: arguments that its URL needs and that a model cannot know of, because `inputSchema` does not require
 * them; and places in its URL and headers in which nothing is filled in.
 */
export function toolWarnings(tool: Tool): FieldError[] {
  if (tool.tool_type !== "http") return [];
  const { url, headers, inputSchema } = tool;
  const properties = propertiesOf(inputSchema);
  return [
    ...neededArguments(url, properties, inputSchema),
    ...foreignPlaces(url, properties),
    ...headerWarnings(headers),
  ];
}

function neededArguments(url: string, properties: readonly string[], inputSchema: JsonObject): FieldError[] {
  const required = Array.isArray(inputSchema["required"]) ? inputSchema["required"] : [];
  return argumentsIn(url, properties).flatMap((name) => {
    if (!properties.includes(name)) {
      const message = `{${name}} is no property of inputSchema: a model cannot know that the URL needs it`;
      return [{ path: "url", message }];
    }
    if (required.includes(name)) return [];
    return [
      { path: "url", message: `{${name}} is needed for each call: list it in the required of inputSchema` },
    ];
  });
}

function urlErrors(url: string): FieldError[] {
  const stray = /[{}].{0,20}/.exec(url.replaceAll(URL_PLACEHOLDER, "x"));
  if (stray !== null) {
    const message = `has a brace that belongs to no placeholder, at ${JSON.stringify(stray[0])}: write {argument}, or %7B and %7D`;
    return [{ path: "url", message }];
  }
  const [dollar] = url.match(/\$\{[^{}]{0,100}\}/) ?? [];
  if (dollar !== undefined) {
    return [{ path: "url", message: `${dollar} would leave its $ in the URL: write ${dollar.slice(1)}` }];
  }
  const parsed = URL.parse(url.replaceAll(URL_PLACEHOLDER, "x"));
  if (parsed === null) return [{ path: "url", message: "is no URL" }];
  // A URL parser writes U+FFFD for it, and reports nothing.
  if (!url.isWellFormed()) return [{ path: "url", message: "must not contain half of a surrogate pair" }];
  if (parsed.hash === "") return [];
  return [{ path: "url", message: "must have no # with what follows it: it is never sent" }];
}

/** A placeholder that is none of the arguments, where the schema says which ones there are. */
function unknownArguments(url: string, schema: JsonObject): FieldError[] {
  const properties = propertiesOf(schema);
  const hasOthers = (schema["additionalProperties"] ?? false) !== false;
  if (properties.length === 0 || hasOthers) return [];
  const suggest = suggestions();
  return argumentsIn(url, properties)
    .filter((name) => !properties.includes(name))
    .map((name) => ({
      path: "url",
      message: `{${name}} is none of the properties of inputSchema${suggest(name, properties)}`,
    }));
}

/** The names of the arguments that a URL reads, of all arguments of a call. */
export function argumentsOfUrl(url: string, args: JsonObject): string[] {
  return argumentsIn(url, Object.keys(args));
}

/** The arguments that a URL reads. `data` stands for the object of all arguments, unless an argument has that name. */
function argumentsIn(url: string, properties: readonly string[]): string[] {
  const names = [...url.matchAll(URL_PLACEHOLDER)].flatMap(([, path = ""]) => {
    const parts = path.split(".");
    const name = parts[0] === "data" && !properties.includes("data") ? parts[1] : parts[0];
    return name === undefined ? [] : [name];
  });
  return [...new Set(names)];
}

/** What is wrong with the headers of requests to the outside. */
export function headerErrors(headers: Readonly<Record<string, string>>): FieldError[] {
  // Each answer of the tool is searched for the values of all headers.
  if (Object.keys(headers).length > limits.keys)
    return [{ path: "headers", message: `may have at most ${limits.keys} entries` }];
  const first = new Map<string, string>();
  return Object.entries(headers).flatMap(([name, value]) => {
    const twin = first.get(name.toLowerCase());
    if (twin === undefined) first.set(name.toLowerCase(), name);
    const message =
      headerError(name, value) ??
      (twin === undefined ? null : `is the same header as ${twin}: letter case does not matter in HTTP`);
    return message === null ? [] : [{ path: `headers.${name}`, message }];
  });
}

function headerError(name: string, value: string): string | null {
  if (!HEADER_NAME.test(name)) return "is no name of an HTTP header";
  if (OWN_HEADERS.has(name.toLowerCase())) return "is set for each call by the engine: leave it out";
  if (/[^\t\x20-\x7e\x80-\xff]/.test(value)) return "holds a character that a header cannot have";
  if (value !== value.trim()) return "must not begin or end with a space: HTTP drops it";
  const [place] = value.match(URL_PLACEHOLDER) ?? [];
  return place === undefined ? null : `${place} would be sent as it is: headers take no placeholders`;
}

function propertiesOf({ properties }: JsonObject): string[] {
  return isObject(properties) ? Object.keys(properties) : [];
}
