import { bodyLimit } from "hono/body-limit";
import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { z } from "zod";
import { AppError, pathText } from "../../../shared/errors.ts";
import { roundedIntegers } from "../../../shared/contracts/long-integers.ts";
import type { ApiEnv } from "../api.ts";
import { serveKnown } from "../unknown-names.ts";

const MIB = 1024 * 1024;

/** Refuses bodies over `mib` MiB, also bodies without a Content-Length. */
export function limitBody(mib: number) {
  const tooLarge = () => {
    throw new AppError("too_large", `A body may have at most ${mib} MiB.`);
  };
  const counted = bodyLimit({ maxSize: mib * MIB, onError: tooLarge });
  return createMiddleware<ApiEnv>(async (c, next) => {
    const length = c.req.header("content-length");
    // A body with a Content-Length is not counted: counting turns it into a stream, which costs 12 us.
    if (length === undefined || c.req.header("transfer-encoding") !== undefined) return counted(c, next);
    if (Number(length) > mib * MIB) tooLarge();
    await next();
  });
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
 *   `malformed_json`; `invalid` that names fields which the schema does not have, or integers beyond 2^53, which would be
 *   stored with other digits than were sent
 */
export function jsonBody({ schema, notYet = [], optional = false }: BodyRules = {}) {
  const known = schema && [...Object.keys(schema.shape), ...notYet];
  return createMiddleware<ApiEnv>(async (c, next) => {
    const type = c.req.header("content-type");
    if (optional && type === undefined && (await c.req.text()) === "") return next();
    if (!/^application\/([a-z0-9.-]+\+)?json\b/i.test(type ?? "")) {
      const detail = "Send the body as JSON, with Content-Type: application/json.";
      throw new AppError("unsupported_media_type", detail);
    }
    const body = await parseOnce(c);
    if (!known || !isObject(body)) return next();
    return serveKnown(c, next, { names: Object.keys(body), known, noun: "field" });
  });
}

/** Hono parses the text of a body at each `json()`, so the value takes the place of that method. */
async function parseOnce(c: Context<ApiEnv>): Promise<unknown> {
  const text = await c.req.text();
  const body = parse(text);
  refuseRounded(text);
  c.req.json = () => Promise.resolve(body);
  return body;
}

function parse(text: string) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("malformed_json", "The body could not be read as JSON.", { cause });
  }
}

function refuseRounded(text: string): void {
  const fields = roundedIntegers(text).map((path) => ({
    path: pathText(path),
    message: "is an integer beyond 2^53, which is read with other digits: send it as text",
  }));
  if (fields.length === 0) return;
  throw new AppError("invalid", `Not valid: ${fields.map(({ path }) => path).join(", ")}.`, { fields });
}

/** A body that is no JSON object is left to the validation that follows. */
function isObject(body: unknown): body is object {
  return typeof body === "object" && body !== null && !Array.isArray(body);
}
