import { z } from "zod";

/** Only a message that fits this is parsed here, which nearly no message does. */
const SUSPECT = /"(?:error|result|params|_meta)"\s*:\s*null|"protocolVersion"\s*:(?=.*:\s*null)/s;

const Members = z.looseObject({});

/**
 * The JSON of a message without those null members for which the library would refuse the whole message. Serializers write null for what
 * is not set: `error` beside a result, `result` beside an error, `params`, `_meta`, and any member of the answer to `initialize`. In other
 * places, such as a tool's result or a schema, null means something, and stays.
 */
export function withoutUnset(json: string): string {
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
  if (!members.success) return message;
  // The id of an error may be null.
  const { id, ...rest } = members.data;
  const { result, ...set } = setMembers(rest);
  const known = { ...set, ...(id !== undefined && { id }) };
  return result === undefined ? known : { ...known, result: cleanedResult(result) };
}

function cleanedResult(result: unknown): unknown {
  const members = Members.safeParse(result);
  if (!members.success) return result;
  if (Object.hasOwn(members.data, "protocolVersion")) return withoutNulls(result);
  const { _meta: meta, ...rest } = members.data;
  return meta === null ? rest : result;
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
