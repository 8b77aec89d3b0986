import type { DefinitionKind } from "../../../shared/contracts/definition/index.ts";
import { MASK } from "../../../shared/contracts/definition/tool-secrets.ts";
import type { FieldError } from "../../../shared/errors.ts";

type Body = Record<string, unknown>;

export function isTable(value: unknown): value is Body {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The text that the predecessor's exports have in place of a secret. */
const REDACTED = /^(?:\S+ )?x{9}$/;

/** Fields of agents that name things on the predecessor's machine, each with the warning that says what to use instead. */
const MACHINE_FIELDS = {
  repos:
    "names repositories on the machine of the predecessor. The agent is imported without them: give it tools that read the code, such as those of an MCP server",
  db_configs:
    "names databases of the predecessor's settings. The agent is imported without them: give it a tool that queries the database",
} as const;

/** `renamed`: the field of the bundle for each field that has another name in `body`, so that errors name that of the bundle. */
type Imported = { body: Body; warnings: FieldError[]; renamed?: ReadonlyMap<string, string> };

/**
 * A definition of a bundle as the body of a save. Redacted secrets become masks, which keep a stored secret and are refused where
 * none is stored. Fields that have a meaning only on the predecessor's machine are left out, with a warning for each.
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

/** Replaces redacted secrets by masks. A `token` is stored as the header Authorization, so the mask of a token is there. */
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
