import type { DefinitionKind } from "../../../shared/contracts/definition/index.ts";
import { MASK } from "../../../shared/contracts/definition/tool-secrets.ts";
import type { FieldError } from "../../../shared/errors.ts";

type Body = Record<string, unknown>;

export function isTable(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What the predecessor's exports have in place of a secret. */
const REDACTED = /^(?:\S+ )?x{9}$/;

/** Fields of agents that name what is on the predecessor's machine, and what to use in place of it. */
const MACHINE_FIELDS = {
  repos:
    "names repositories on the machine of the predecessor. The agent is imported without them: give it tools that read the code, such as those of an MCP server",
  db_configs:
    "names databases of the predecessor's settings. The agent is imported without them: give it a tool that queries the database",
} as const;

/** `renamed`: fields that the body has in place of those of the bundle, so that errors lead to the bundle. */
type Imported = { body: Body; warnings: FieldError[]; renamed?: ReadonlyMap<string, string> };

/**
 * A definition of a bundle as a save takes it. Redacted secrets become masks, which keep a stored secret and are refused where
 * there is none; fields that only the predecessor's machine gives a meaning are left out, with a warning for each.
 */
export function importedBody(kind: DefinitionKind, body: Body): Imported {
  switch (kind) {
    case "agents":
      return withoutMachineFields(body);
    case "tools":
    case "mcp_servers":
      return { warnings: [], ...withMasks(body) };
    case "orchestrations":
      return { body, warnings: [] };
  }
}

function withoutMachineFields(body: Body): Imported {
  const found = Object.entries(MACHINE_FIELDS).filter(([field]) => {
    const value = body[field];
    return Array.isArray(value) && value.length > 0;
  });
  if (found.length === 0) return { body, warnings: [] };
  const fields = new Set(found.map(([field]) => field));
  return {
    body: Object.fromEntries(Object.entries(body).filter(([field]) => !fields.has(field))),
    warnings: found.map(([path, message]) => ({ path, message })),
  };
}

/** A token is kept as the header Authorization, so its mask is there. */
function withMasks(body: Body): Pick<Imported, "body" | "renamed"> {
  const { token, headers } = body;
  const masked = isTable(headers)
    ? Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, maskOf(value)]))
    : headers;
  if (maskOf(token) !== MASK) return { body: headers === undefined ? body : { ...body, headers: masked } };
  const withToken = { ...(isTable(masked) ? masked : {}), Authorization: MASK };
  return {
    body: { ...body, token: "", headers: withToken },
    renamed: new Map([["headers.Authorization", "token"]]),
  };
}

function maskOf(value: unknown): unknown {
  return typeof value === "string" && (value === MASK || REDACTED.test(value)) ? MASK : value;
}
