import { z } from "zod";
import { percentDecoded } from "../../http/percent-decoded.ts";

/** What is shown and stored in place of a secret. */
export const MASK = "********";

/** The fields of a tool, or of an MCP server, that may hold secrets, in every form in which definitions were ever stored. */
const WithSecrets = z.looseObject({
  url: z.string().default(""),
  headers: z.record(z.string(), z.string()).default({}),
  public_headers: z.array(z.string()).default([]),
  oauth: z.looseObject({ client_secret: z.string() }).nullish(),
  connection: z.string().nullish(),
});

/**
 * Secrets of a tool, or of an MCP server, by their place in it: `headers.X-Api-Key`, `url?key` (a query value), `url/2` (a part of
 * the path), `oauth.client_secret`, `connection`.
 */
export type ToolSecrets = Readonly<Record<string, string>>;

/** Headers that describe the request or the response, and carry no credential. */
const NEVER_SECRET: ReadonlySet<string> = new Set([
  "accept",
  "accept-language",
  "content-type",
  "user-agent",
]);
/** Names under which credentials are sent. */
const CREDENTIAL = /key|token|secret|auth|pass|pwd|cred|sig|cookie|session|jwt|bearer|appid|app_id/i;
/** A text that looks random: at least 20 characters, with letters and digits. */
const RANDOM = /^(?=.*\d)(?=.*[A-Za-z])[^\s{}]{20,}$/;
/** A secret that looks random: in a place that is secret anyway, 12 characters are enough. */
const RANDOM_SECRET = /^(?=.*\d)(?=.*[A-Za-z])\S{12,}$/;

/**
 * Divides a tool into what may be shown, with a mask in place of each secret, and its secrets. A mask that is there
 * already is one of the secrets too.
 *
 * The value of every header is secret, because the spellings of `X-Api-Key` are endless, except the headers of NEVER_SECRET
 * and of the tool's `public_headers`. In the URL a query value is secret when its name is that of a credential, and every
 * part is when it looks random.
 */
export function withoutSecrets<Tool extends Record<string, unknown>>(
  tool: Tool,
): { shown: Tool; secrets: ToolSecrets } {
  const isPublic = new Set(publicHeadersOf(tool));
  const secrets: Record<string, string> = {};
  const shown = mapValues(tool, (at, value) => {
    if (value !== MASK && !isSecret(at, value, isPublic)) return value;
    secrets[at.path] = value;
    return MASK;
  });
  return { shown, secrets };
}

/** The tool with these secrets in their places. */
export function withSecrets<Tool extends Record<string, unknown>>(tool: Tool, secrets: ToolSecrets): Tool {
  return mapValues(tool, ({ path }, value) =>
    Object.hasOwn(secrets, path) ? (secrets[path] ?? value) : value,
  );
}

/**
 * The secrets of a complete tool that are credentials by their name or because they look random, with the forms in which a
 * server may quote them. Other secrets stay in the data of an answer: they may be ordinary words.
 */
export function credentialsOf(tool: Record<string, unknown>): readonly string[] {
  const known = credentials.get(tool) ?? findCredentials(tool);
  credentials.set(tool, known);
  return known;
}

/** From now on a credential that was issued for the tool, such as an access token, is one of `credentialsOf`. */
export function addCredential(tool: Record<string, unknown>, issued: string): void {
  credentials.set(tool, [...new Set([...credentialsOf(tool), issued])]);
}

/** Those of tools that are in use. A tool does not change. */
const credentials = new WeakMap<object, readonly string[]>();

function findCredentials(tool: Record<string, unknown>): string[] {
  return Object.entries(withoutSecrets(tool).secrets).flatMap(([path, value]) => {
    if (!CREDENTIAL.test(nameOf(path)) && !RANDOM_SECRET.test(value)) return [];
    return path.startsWith("headers.") ? [value, ...value.split(/\s+/).slice(1)] : [value, decoded(value)];
  });
}

type Place = { path: string; in: "header" | "query" | "path" | "field"; name: string };

function isSecret({ in: where, name }: Place, value: string, isPublic: ReadonlySet<string>): boolean {
  if (where === "field") return value !== "";
  // The arguments of a call fill in a value that has a placeholder.
  if (where !== "header" && (value === "" || value.includes("{"))) return false;
  if (where === "path") return RANDOM.test(value);
  if (where === "query") return CREDENTIAL.test(name) || RANDOM.test(value);
  return value !== "" && !NEVER_SECRET.has(name.toLowerCase()) && !isPublic.has(name.toLowerCase());
}

function publicHeadersOf(tool: Record<string, unknown>): string[] {
  return WithSecrets.parse(tool).public_headers.map((name) => name.toLowerCase());
}

/** The tool with `change` applied to each place that may hold a secret. */
function mapValues<Tool extends Record<string, unknown>>(
  tool: Tool,
  change: (at: Place, value: string) => string,
): Tool {
  const { url, headers, oauth, connection } = WithSecrets.parse(tool);
  if (tool["tool_type"] === "sql" && typeof connection === "string") {
    return {
      ...tool,
      connection: change({ path: "connection", in: "field", name: "connection" }, connection),
    };
  }
  const changed = Object.entries(headers).map(([name, value]) => [
    name,
    change({ path: `headers.${name}`, in: "header", name }, value),
  ]);
  const mapped = { ...tool, url: mapUrl(url, change), headers: Object.fromEntries(changed) };
  if (oauth === null || oauth === undefined) return mapped;
  const at: Place = { path: "oauth.client_secret", in: "field", name: "client_secret" };
  return { ...mapped, oauth: { ...oauth, client_secret: change(at, oauth.client_secret) } };
}

/** Applies `change` to the parts of a URL's path and to its query values. It works on the text, so that placeholders stay as written. */
function mapUrl(url: string, change: (at: Place, value: string) => string): string {
  const [, start = "", path = "", query] = /^(https?:\/\/[^/?#]*)([^?]*)(?:\?(.*))?$/s.exec(url) ?? [];
  if (start === "") return url;
  const parts = path
    .split("/")
    .map((part, i) => change({ path: `url/${i}`, in: "path", name: "" }, part))
    .join("/");
  if (query === undefined) return start + parts;
  const seen = new Map<string, number>();
  const pairs = query.split("&").map((pair) => {
    const equals = pair.indexOf("=");
    if (equals < 0) return pair;
    const name = pair.slice(0, equals);
    const before = seen.get(name) ?? 0;
    seen.set(name, before + 1);
    const at = before === 0 ? `url?${name}` : `url?${name}[${before}]`;
    return `${name}=${change({ path: at, in: "query", name }, pair.slice(equals + 1))}`;
  });
  return `${start}${parts}?${pairs.join("&")}`;
}

function nameOf(path: string): string {
  return path.replace(/^(headers\.|url\?|url\/|oauth\.)/, "");
}

/** A part of a URL without its percent-encoding; the part itself when that is broken. */
export function decoded(value: string): string {
  return percentDecoded(value) ?? value;
}
