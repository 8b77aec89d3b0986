/** Parses HTTP requests into Redis commands. Hand-written, without zod, because it runs for every command. */
import { isUtf8 } from "node:buffer";
import type { RestCommand } from "./command-policy.ts";
import { withoutKeyLocking } from "./key-locking.ts";
import { RestError } from "./rest-error.ts";

/**
 * The command of a path: `/set/key/value?EX=100`. A body is one more argument, byte for byte. The query's pairs follow
 * it (`POST /set/key?EX=100` with the value as body); of a pair without a value only the name becomes an argument.
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
  return withoutKeyLocking(command);
}

/**
 * The decoded segments of a path. A slash at the end adds no empty argument. Neither do slashes at the beginning, because
 * a client appends its path to an address that may end in a slash.
 *
 * @throws RestError 400
 */
export function pathSegments(path: string): string[] {
  const segments = path.replace(/^\/+/, "").split("/");
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
 * The rows of a pipeline or transaction body: `[["SET", "k", "v"], ["GET", "k"]]`. The rows themselves are not parsed
 * here: a bad row discards a transaction, but fails alone in a pipeline.
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

/** Parses a row: the name, then strings, numbers and booleans. @throws RestError 400 */
export function toCommand(row: unknown): RestCommand {
  if (!Array.isArray(row)) throw new RestError(400, "ERR failed to parse command");
  const [name, ...args]: unknown[] = row;
  if (name === undefined || name === "") throw new RestError(400, "ERR empty command");
  if (typeof name !== "string") throw new RestError(400, "ERR failed to parse command");
  return withoutKeyLocking({ name: name.toUpperCase(), args: args.map(toArgument) });
}

function toArgument(value: unknown): string {
  if (typeof value === "string") return value;
  if (value === Infinity || value === -Infinity)
    throw new RestError(400, "ERR a number is beyond the range of a double: send it as a string");
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value === null) throw new RestError(400, "ERR null args are not supported");
  throw new RestError(400, "ERR failed to parse command");
}

/** Numbers of 16 digits and more: a double may not hold them exactly. */
const LONG_NUMBER = /\d{16}/;

/**
 * Parses JSON and keeps the digits of long numbers: `["SET", "k", 9007199254740993]` must not lose its last digit. A
 * body without a long number is parsed without a reviver, because the reviver costs about ten times as much.
 */
function parseJson(body: Buffer | null, message: string): unknown {
  if (body !== null && !isUtf8(body))
    throw new RestError(400, `${message}: it is not valid UTF-8. Send bytes as the body of POST /set/<key>`);
  const text = body?.toString() ?? "";
  try {
    return LONG_NUMBER.test(text) ? JSON.parse(text, keepNumberSource) : JSON.parse(text);
  } catch (cause) {
    throw new RestError(400, message, { cause });
  }
}

function keepNumberSource(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === "number" ? (context?.source ?? value) : value;
}
