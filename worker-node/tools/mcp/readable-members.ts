import { z } from "zod";

/** What a message must have before it is parsed for odd members: nearly all have none of these. */
const SUSPECT =
  /"(?:result|params|_meta)"\s*:\s*null|"result"\s*:\s*["[]|"error"\s*:\s*[n"{]|"nextCursor"\s*:\s*-?\d|"(?:protocolVersion|supportedVersions)"\s*:/s;

/** The code of JSON-RPC for an error that has none of its own: an internal error. */
const INTERNAL_ERROR = -32_603;

const Members = z.looseObject({});
const Parts = z.array(z.looseObject({ type: z.string() })).min(1);

/**
 * The JSON of a message whose members the library can read. It refuses a whole message for one of them, however plain the meaning is:
 * - members of null, which serializers write for what is not set: `error` beside a result, `result` beside an error, `params`, `_meta`, and
 *   any member of the answer to `initialize`. Null means something in other places, such as a tool's result or a schema, and stays there.
 * - an error without an integer as its code, or that is a text
 * - a number as the cursor of the next page
 * - a result that is a text or a list, in place of an object with it
 * - a server that does not say its name or its version, or declares what it has in another form than a table
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
  if (typeof result === "string") return { content: [{ type: "text", text: result }] };
  if (Array.isArray(result))
    return Parts.safeParse(result).success ? { content: result } : { toolResult: result };
  const members = Members.safeParse(result);
  if (!members.success) return result;
  const { protocolVersion, supportedVersions } = members.data;
  if (protocolVersion !== undefined) return initialized(setMembers(members.data));
  if (supportedVersions !== undefined) return withCapabilities(setMembers(members.data));
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

/** The answer to `initialize`, of which this client uses the protocol and the capabilities. The library demands a name and a version. */
function initialized({ protocolVersion, capabilities, serverInfo }: Record<string, unknown>): unknown {
  const info = Members.safeParse(serverInfo).data ?? {};
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  const named = { name: text(info["name"]), version: text(info["version"]) };
  return withCapabilities({ protocolVersion, capabilities, serverInfo: named });
}

/** Of the capabilities this client uses two. PHP writes an empty table as a list, and some servers have their tools there. */
function withCapabilities(result: Record<string, unknown>): unknown {
  const { tools, tasks: ofTasks } = Members.safeParse(result["capabilities"]).data ?? {};
  const tasks = tableOf(ofTasks);
  const listChanged = Members.safeParse(tools).data?.["listChanged"] === true;
  const capabilities = {
    ...(tableOf(tools) !== undefined && { tools: { listChanged } }),
    ...(tasks !== undefined && { tasks }),
  };
  return { ...result, capabilities };
}

/** What a server declares, each part a table; undefined: it declares nothing. */
function tableOf(value: unknown): Record<string, unknown> | undefined {
  if (value === true || Array.isArray(value)) return {};
  const members = Members.safeParse(value);
  if (!members.success) return undefined;
  const parts = Object.entries(members.data).map(([name, inner]) => [name, tableOf(inner)] as const);
  return Object.fromEntries(parts.filter(([, inner]) => inner !== undefined));
}

/** The members of an object that are not null. */
export function setMembers(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null));
}
