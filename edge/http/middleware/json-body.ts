import { bodyLimit } from "hono/body-limit";
import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { z } from "zod";
import { AppError, pathText } from "../../../shared/errors.ts";
import { roundedIntegers } from "../../../shared/contracts/long-integers.ts";
import { repeatedKeys } from "../../../shared/contracts/repeated-keys.ts";
import type { ApiEnv } from "../api.ts";
import { serveKnown } from "../unknown-names.ts";

const MIB = 1024 * 1024;
/** A body that is too large is read and dropped up to this size. Of a larger one the connection is closed while the client still sends. */
const MAX_DROPPED_MIB = 32;

/**
 * Refuses bodies over `mib` MiB, also bodies without a Content-Length. `others`: paths with another limit; null: the route
 * limits its body itself.
 */
export function limitBody(mib: number, others: Readonly<Record<string, number | null>> = {}) {
  const limits = new Map(
    Object.entries(others).map(([path, most]) => [path, most === null ? null : limitTo(most)]),
  );
  const usual = limitTo(mib);
  return createMiddleware<ApiEnv>((c, next) => {
    const limit = limits.get(c.req.path);
    return limit === null ? next() : (limit ?? usual)(c, next);
  });
}

function limitTo(mib: number) {
  const tooLarge = () => {
    throw new AppError("too_large", `A body may have at most ${mib} MiB.`);
  };
  const counted = bodyLimit({ maxSize: mib * MIB, onError: tooLarge });
  return createMiddleware<ApiEnv>(async (c, next) => {
    const length = c.req.header("content-length");
    // A body with a Content-Length is not counted: counting turns it into a stream, which costs 12 us.
    if (length === undefined || c.req.header("transfer-encoding") !== undefined) return counted(c, next);
    if (Number(length) > mib * MIB) {
      if (Number(length) <= MAX_DROPPED_MIB * MIB) await dropBody(c);
      tooLarge();
    }
    await next();
  });
}

/** Reads a body without keeping it: most clients read no response before they have sent theirs, and see a broken connection in its place. */
async function dropBody(c: Context<ApiEnv>): Promise<void> {
  try {
    await c.req.raw.body?.pipeTo(new WritableStream());
  } catch {
    // The client has left, so nobody gets the response.
  }
}

type BodyRules = {
  /** The schema whose fields are known; absent: the route checks the fields itself. */
  schema?: z.ZodObject;
  /** Fields that have an error of their own. */
  notYet?: readonly string[];
  /** A request without a body is served too. */
  optional?: boolean;
};

/**
 * Reads the JSON body of a request and parses it, once: `c.req.json()` and the validation of the route's schema, which
 * follow, get the parsed value.
 * @throws AppError `unsupported_media_type` for another Content-Type, for which Hono would skip the validation;
 *   `malformed_json`; `invalid` that names fields which the schema does not have, keys that an object has twice, of which
 *   one would be lost, or integers beyond 2^53, which would be stored with other digits than were sent
 */
export function jsonBody({ schema, notYet = [], optional = false }: BodyRules = {}) {
  const known = schema && [...Object.keys(schema.shape), ...notYet];
  return createMiddleware<ApiEnv>(async (c, next) => {
    const type = c.req.header("content-type");
    if (optional && (await c.req.arrayBuffer()).byteLength === 0) {
      // Many clients send the type of JSON with every request.
      const nothing = parse("{}");
      c.req.json = () => Promise.resolve(nothing);
      return next();
    }
    requireJsonInUtf8(type ?? "", c.req.header("content-encoding") ?? "identity");
    const body = await parseOnce(c);
    if (!known || !isObject(body)) return next();
    return serveKnown(c, next, { names: Object.keys(body), known, noun: "field" });
  });
}

/** A body in another charset would be read as other letters, and a compressed one as no JSON. */
function requireJsonInUtf8(type: string, encoding: string): void {
  const unsupported = (detail: string) => new AppError("unsupported_media_type", detail);
  if (!/^application\/([a-z0-9.-]+\+)?json\b/i.test(type)) {
    throw unsupported("Send the body as JSON, with Content-Type: application/json.");
  }
  const charset = /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(type)?.[1] ?? "utf-8";
  if (!/^(utf-?8|us-ascii)$/i.test(charset)) {
    throw unsupported(`Send the body in UTF-8: JSON has no other charset, and this one is ${charset}.`);
  }
  if (encoding.toLowerCase() !== "identity") {
    throw unsupported(`Send the body without Content-Encoding: ${encoding} is not decoded here.`);
  }
}

/** Hono parses the text of a body at each `json()`, so the value takes the place of that method. */
async function parseOnce(c: Context<ApiEnv>): Promise<unknown> {
  const text = textOf(await c.req.arrayBuffer());
  const body = parse(text);
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

/** Where a body stops being JSON. The parser's own sentence is not sent: it quotes the body. */
function malformedDetail(text: string, error: unknown): string {
  if (text.trim() === "") return "The body is empty: send a JSON object.";
  const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
  if (position === undefined)
    return "The body could not be read as JSON: it ends too early, or begins wrong.";
  const lines = text.slice(0, Number(position)).split("\n");
  const column = (lines.at(-1) ?? "").length + 1;
  return `The body could not be read as JSON: see line ${lines.length}, column ${column}.`;
}

/** What a reader of JSON would change without an error. */
function refuseChanged(text: string, body: unknown): void {
  const rounded = roundedIntegers(text).map((path) => ({
    path: pathText(path),
    message: "is an integer beyond 2^53, which is read with other digits: send it as text",
  }));
  const repeated = repeatedKeys(text, body).map((path) => ({
    path: pathText(path),
    message: "is written twice in the same object, and only one value can be read: send it once",
  }));
  const fields = [...repeated, ...rounded];
  if (fields.length === 0) return;
  throw new AppError("invalid", `Not valid: ${fields.map(({ path }) => path).join(", ")}.`, { fields });
}

/** A body that is no JSON object is left to the validation that follows. */
function isObject(body: unknown): body is object {
  return typeof body === "object" && body !== null && !Array.isArray(body);
}
