import { z } from "zod";

/** What a message must have before it is parsed for odd members: nearly all have none of these. */
const SUSPECT =
  /"(?:result|params|_meta)"\s*:\s*null|"error"\s*:\s*[n"{]|"nextCursor"\s*:\s*-?\d|"protocolVersion"\s*:/s;

/** The code of JSON-RPC for an error that has none of its own: an internal error. */
const INTERNAL_ERROR = -32_603;

const Members = z.looseObject({});

/**
 * The JSON of a message whose members the library can read. It refuses a whole message for one of them, however plain the meaning is:
 * - members of null, which serializers write for what is not set: `error` beside a result, `result` beside an error, `params`, `_meta`, and
 *   any member of the answer to `initialize`. Null means something in other places, such as a tool's result or a schema, and stays there.
 * - an error without an integer as its code, or that is a text
 * - a number as the cursor of the next page
 * - a server that does not say its name or its version
 */
export function withReadableMembers(json: string): string {
  if (!SUSPECT.test(json)) return json;
  try {
    const parsed: unknown = JSON.parse(json);
    return JSON.stringify(Array.isArray(parsed) ? parsed.map(cleaned) : cleaned(parsed));
  } catch (error) {
    // The library reports what is no JSON.
    if (error instanceof SyntaxError) return json;
    throw error;
  }
}

function cleaned(message: unknown): unknown {
  const members = Members.safeParse(message);
  // A text as `error` is an error of OAuth, where the message is the answer of an authorization server at the same address.
  if (!members.success || members.data["jsonrpc"] === undefined) return message;
  // The id of an error may be null.
  const { id, ...rest } = members.data;
  const { result, error, ...set } = setMembers(rest);
  const known = {
    ...set,
    ...(id !== undefined && { id }),
    ...(error !== undefined && { error: readableError(error) }),
  };
  return result === undefined ? known : { ...known, result: cleanedResult(result) };
}

function cleanedResult(result: unknown): unknown {
  const members = Members.safeParse(result);
  if (!members.success) return result;
  if (Object.hasOwn(members.data, "protocolVersion")) return withServerInfo(setMembers(members.data));
  const { _meta: meta, nextCursor, ...rest } = members.data;
  return {
    ...rest,
    ...(meta !== undefined && meta !== null && { _meta: meta }),
    ...(nextCursor !== undefined && {
      nextCursor: typeof nextCursor === "number" ? String(nextCursor) : nextCursor,
    }),
  };
}

/** An error of JSON-RPC; an error that is none becomes one that says the same. */
function readableError(error: unknown): unknown {
  const members = Members.safeParse(error);
  if (!members.success) return { code: INTERNAL_ERROR, message: textOf(error) };
  const { code, message, ...rest } = members.data;
  const isWord = typeof code === "string" && Number.isNaN(Number(code));
  const integer = Number.isInteger(Number(code ?? undefined)) ? Number(code) : INTERNAL_ERROR;
  const said = typeof message === "string" ? message : textOf(error);
  return { ...rest, code: integer, message: isWord && said === message ? `${code}: ${said}` : said };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The answer to `initialize`: the name and the version of a server are for people, and this client uses neither. */
function withServerInfo(result: Record<string, unknown>): unknown {
  const info = Members.safeParse(result["serverInfo"]).data ?? {};
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  const serverInfo = { ...info, name: text(info["name"]), version: text(info["version"]) };
  return withoutNulls({ ...result, serverInfo });
}

/** The members of an object that are not null. */
export function setMembers(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null));
}

function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  const members = Members.safeParse(value);
  if (!members.success) return value;
  return Object.fromEntries(
    Object.entries(setMembers(members.data)).map(([name, inner]) => [name, withoutNulls(inner)]),
  );
}
