/** From an HTTP request to Redis commands. Hand-written, not zod: this runs for every command of every request. */
import type { RestCommand } from "./command-policy.ts";
import { RestError } from "./rest-error.ts";

/**
 * The command of a path: `/set/key/value?EX=100`. A body is one more argument, byte for byte, and the query's
 * pairs come after it (`POST /set/key?EX=100` with the value as body); a pair without a value is a bare word.
 */
export function commandFromPath(
  segments: string[],
  body: Buffer | null,
  query: URLSearchParams | null,
): RestCommand {
  const [name = "", ...args] = segments;
  const command: RestCommand = { name: name.toUpperCase(), args };
  if (body && body.length > 0) command.args.push(body);
  for (const [key, value] of query ?? []) {
    if (key === "_token") continue;
    command.args.push(key);
    if (value !== "") command.args.push(value);
  }
  return command;
}

/** Segments of a path, decoded; a path that ends in a slash has no empty last argument. */
export function pathSegments(path: string): string[] {
  if (path === "/") return [];
  const segments = path.slice(1).split("/");
  if (segments.at(-1) === "") segments.pop();
  try {
    return segments.map(decodeURIComponent);
  } catch (cause) {
    throw new RestError(400, "ERR the path is not valid percent-encoded UTF-8", { cause });
  }
}

/**
 * The command of a body: `["SET", "key", "value"]`.
 *
 * @throws RestError 400
 */
export function commandFromBody(body: Buffer | null): RestCommand {
  return toCommand(parseJson(body, "ERR failed to parse command"));
}

/**
 * The rows of a pipeline or transaction body: `[["SET", "k", "v"], ["GET", "k"]]`, not looked at one by one yet:
 * a bad row spoils a transaction, but only its own place in a pipeline.
 *
 * @throws RestError 400
 */
export function rowsFromBody(body: Buffer | null, what: "pipeline" | "multi-exec"): unknown[] {
  const message = `ERR failed to parse ${what} request`;
  const rows = parseJson(body, message);
  if (!Array.isArray(rows) || !rows.every(Array.isArray)) throw new RestError(400, message);
  if (rows.length === 0) throw new RestError(400, `ERR empty ${what} request`);
  return rows;
}

/** One row as a command: a name, then strings, numbers and booleans. */
export function toCommand(row: unknown): RestCommand {
  if (!Array.isArray(row)) throw new RestError(400, "ERR failed to parse command");
  const [name, ...args]: unknown[] = row;
  if (name === undefined || name === "") throw new RestError(400, "ERR empty command");
  if (typeof name !== "string") throw new RestError(400, "ERR failed to parse command");
  return { name: name.toUpperCase(), args: args.map(toArgument) };
}

function toArgument(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value === null) throw new RestError(400, "ERR null args are not supported");
  throw new RestError(400, "ERR failed to parse command");
}

/** A number that a double cannot carry as written: 16 digits and more. */
const longNumber = /\d{16}/;

/**
 * JSON, with long numbers kept as they were written: `["SET", "k", 9007199254740993]` must not lose its last
 * digit on the way. Only then, because reading the source of each value costs about ten times as much.
 */
function parseJson(body: Buffer | null, message: string): unknown {
  const text = body?.toString() ?? "";
  try {
    return longNumber.test(text) ? JSON.parse(text, numberAsWritten) : JSON.parse(text);
  } catch (cause) {
    throw new RestError(400, message, { cause });
  }
}

function numberAsWritten(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === "number" ? (context?.source ?? value) : value;
}
