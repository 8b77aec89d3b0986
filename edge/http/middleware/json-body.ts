import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { z } from "zod";
import { AppError, pathText } from "../../../shared/errors.ts";
import { roundedIntegers, withLongIntegersAsText } from "../../../shared/contracts/long-integers.ts";
import type { JsonPath } from "../../../shared/contracts/long-integers.ts";
import { repeatedKeys } from "../../../shared/contracts/repeated-keys.ts";
import type { ApiEnv } from "../api.ts";
import { invalidFields } from "../problem.ts";
import { isInsideJson } from "../inside-json.ts";
import { readBody } from "../read-body.ts";
import { serveKnown, unknownFields } from "../unknown-names.ts";

type BodyRules = {
  /** The schema that has the known fields; absent: the route checks the fields itself. */
  schema?: z.ZodObject;
  /**
   * Fields that only GET has: what it returned can be edited and sent back. They are ignored; another `id` than that of the path is refused.
   */
  readOnly?: readonly string[];
  /** A request without a body is served too. */
  optional?: boolean;
  /** The schema of the values, where `schema` leaves them to the route. */
  values?: z.ZodType;
  /** The body is another system's: no value of it has a meaning here. It may be a form whose field `payload` is the JSON. */
  isForeign?: boolean;
};

/**
 * Parses the JSON body of a request, once: `c.req.json()` and the validation of the route's schema, which follow, get the
 * parsed value.
 * @throws AppError `unsupported_media_type` for another Content-Type, for which Hono would skip the validation;
 *   `request_timeout`; `malformed_json`; `invalid` for fields that the schema does not have, for keys that an object has twice (one would be
 *   lost), and for integers beyond 2^53 that have a meaning here (other digits would be stored); those inside of values of any shape,
 *   such as `state`, become texts of their digits
 */
export function jsonBody({
  schema,
  readOnly = [],
  optional = false,
  values = schema,
  isForeign = false,
}: BodyRules = {}) {
  const isCarried = (path: JsonPath): boolean =>
    isForeign || (values !== undefined && isInsideJson(values, path));
  return createMiddleware<ApiEnv>(async (c, next) => {
    const type = c.req.header("content-type");
    if (optional && (await readBody(c, isForeign)).byteLength === 0) {
      // Whatever its Content-Type says: many clients send one with every request.
      const nothing = parse("{}");
      c.req.json = () => Promise.resolve(nothing);
      await declareJson(c);
      return next();
    }
    const isForm = isForeign && FORM.test(type ?? "");
    requireJsonInUtf8(
      isForm ? "application/json" : (type ?? ""),
      c.req.header("content-encoding") ?? "identity",
    );
    const body = await parseOnce(c, isCarried, { isForeign, isForm });
    await declareJson(c);
    if (!schema) return next();
    if (readOnly.includes("id")) requireIdOfPath(body, c.req.param("id"));
    return serveKnown(c, next, { unknown: unknownFields(schema, body, readOnly), noun: "field" });
  });
}

/** Refuses a body with the id of another resource: it would replace this one. */
function requireIdOfPath(body: unknown, id: string | undefined): void {
  if (idIn(body) === undefined || idIn(body) === id) return;
  throw invalidFields([{ path: "id", message: `is not that of the path, ${id}: give that one, or none` }]);
}

function idIn(body: unknown): unknown {
  return typeof body === "object" && body !== null && "id" in body ? body.id : undefined;
}

/** GitHub sends a webhook as a form unless its owner chooses JSON: the JSON is the field `payload`. */
const FORM = /^application\/x-www-form-urlencoded\s*(;|$)/i;

/** The JSON in a form. @throws AppError `unsupported_media_type` for any other form */
function payloadOf(form: string): string {
  const payload = new URLSearchParams(form).get("payload");
  if (payload !== null) return payload;
  const detail =
    "Send the body as JSON, with Content-Type: application/json, or as a form with the JSON in its field payload.";
  throw new AppError("unsupported_media_type", detail);
}

/** Refuses a body in another charset, which would be read as other letters, and a compressed body. */
function requireJsonInUtf8(type: string, encoding: string): void {
  const unsupported = (detail: string) => new AppError("unsupported_media_type", detail);
  if (!/^application\/([a-z0-9.-]+\+)?json\s*(;|$)/i.test(type)) {
    const sent = type === "" ? "none" : type;
    throw unsupported(`Send the body as JSON, with Content-Type: application/json: this one has ${sent}.`);
  }
  for (const [, charset = ""] of type.matchAll(/;\s*charset\s*=\s*"?([^\s;"]+)/gi)) {
    if (/^(utf-?8|us-ascii)$/i.test(charset)) continue;
    throw unsupported(`Send the body in UTF-8: JSON has no other charset, and this one is ${charset}.`);
  }
  if (encoding.toLowerCase() !== "identity") {
    throw unsupported(`Send the body without Content-Encoding: ${encoding} is not decoded here.`);
  }
}

/** The content types that nearly all clients send, as the validators know them. */
const PLAIN_JSON = /^application\/json(; ?charset=utf-8)?$/i;

/**
 * Declares the body that was read as plain JSON. The validators of zod-openapi read the Content-Type too, and end in an error for legal
 * spellings that they do not know, and for any other type of an empty body.
 */
async function declareJson(c: Context<ApiEnv>): Promise<void> {
  const type = c.req.header("content-type");
  if (type === undefined || PLAIN_JSON.test(type)) return;
  const { raw } = c.req;
  const headers = new Headers(raw.headers);
  headers.set("content-type", "application/json");
  c.req.raw = new Request(raw, { method: raw.method, headers, body: await c.req.arrayBuffer() });
}

/** Hono parses the text of a body at each `json()`, so the value takes the place of that method. */
async function parseOnce(
  c: Context<ApiEnv>,
  isCarried: (path: JsonPath) => boolean,
  { isForeign, isForm }: { isForeign: boolean; isForm: boolean },
): Promise<unknown> {
  const whole = textOf(await readBody(c, isForeign));
  const sent = isForm ? payloadOf(whole) : whole;
  let body = parse(sent);
  // After the first parse: the digits of what is no JSON must not become a part of it.
  const text = withLongIntegersAsText(sent, isCarried);
  if (text !== sent) body = parse(text);
  refuseChanged(text, body);
  c.req.json = () => Promise.resolve(body);
  return body;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

/** The text of a body. Bytes that are no UTF-8 are refused: a lenient reader would store other characters in their place. */
function textOf(bytes: ArrayBuffer): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw new AppError("malformed_json", "The body has bytes that are no UTF-8.", { cause });
  }
}

function parse(text: string) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("malformed_json", malformedDetail(text, cause), { cause });
  }
}

/** Says where a body stops being JSON. The parser's own message is not sent, because it quotes the body. */
function malformedDetail(text: string, error: unknown): string {
  if (text.trim() === "") return "The body is empty: send a JSON object.";
  const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
  if (position === undefined)
    return "The body could not be read as JSON: it ends too early, or has what JSON does not know, such as NaN, a comment or a text without quotes.";
  const lines = text.slice(0, Number(position)).split("\n");
  const column = (lines.at(-1) ?? "").length + 1;
  return `The body could not be read as JSON: see line ${lines.length}, column ${column}.`;
}

/** Refuses what a reader of JSON changes without an error: integers beyond 2^53, and keys that an object has twice. */
function refuseChanged(text: string, body: unknown): void {
  const rounded = roundedIntegers(text).map((path) => ({
    path: pathText(path),
    message:
      "is an integer beyond 2^53, which is read with other digits: send a smaller one, or its digits as text",
  }));
  const repeated = repeatedKeys(text, body).map((path) => ({
    path: pathText(path),
    message: "is written twice in the same object, and only one value can be read: send it once",
  }));
  const fields = [...repeated, ...rounded];
  if (fields.length > 0) throw invalidFields(fields);
}
