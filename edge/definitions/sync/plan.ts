import type { DefinitionKind } from "../../../shared/contracts/definition/index.ts";
import type { Owner } from "../../../shared/contracts/tenant.ts";
import type { FieldError } from "../../../shared/errors.ts";
import { AgentFields } from "../../../shared/store/definitions/look-up.ts";
import { readOwnDefinitions } from "../../../shared/store/definitions/own-definitions.ts";
import type { OwnDefinition } from "../../../shared/store/definitions/own-definitions.ts";
import { toAppError } from "../../http/problem.ts";
import type { Services } from "../../services.ts";
import { NewDefinitionId } from "../definition-request.ts";
import { definitionToSave } from "../definition-to-save.ts";
import type { DefinitionToSave } from "../definition-to-save.ts";
import type { Planned } from "../save-warnings.ts";
import { KINDS } from "./bundle.ts";
import type { Entry } from "./bundle.ts";
import { inGroups } from "../../http/in-groups.ts";
import { importedBody, isTable } from "./imported-body.ts";
import { isAlreadyStored } from "./is-already-stored.ts";

/** The most errors of one definition that the response has. */
const MAX_ERRORS = 20;

/** A definition that is not saved, and the errors that say why. `id` null: the definition has no valid id. */
export type Refused = Pick<Entry, "kind" | "path"> & {
  is: "refused";
  id: string | null;
  code: string;
  errors: readonly FieldError[];
};

/** A valid definition. `storedVersion`: the version by which it was planned; 0: none was stored. */
export type Accepted = Pick<Entry, "kind" | "path"> & {
  is: "created" | "updated" | "unchanged";
  id: string;
  storedVersion: number;
} & Pick<DefinitionToSave, "row" | "warnings">;

export type SyncOutcome = Refused | Accepted;

/** Whose definitions a sync changes. `isLenient`: fields that nothing reads are ignored, as in a lenient PUT. */
export type SyncScope = { owner: Owner; isLenient: boolean };

type SyncServices = Pick<Services, "sql" | "config">;
type Identified = Entry & { id: string; body: Record<string, unknown> };

/**
 * What a sync of these definitions would do to each of them. It stores nothing. For the warnings about a definition, the accepted
 * definitions of earlier kinds in the same request count as stored. All orchestrations of the request count as stored, because
 * orchestrations and agents may run them: when one is refused, the result says so itself.
 */
export async function planSync(
  services: SyncServices,
  { owner, isLenient }: SyncScope,
  entries: readonly Entry[],
): Promise<SyncOutcome[]> {
  const outcomes: SyncOutcome[] = [];
  const identified: Identified[] = [];
  const seen = new Set<string>();
  for (const entry of entries) {
    const found = identify(entry, seen);
    if ("is" in found) outcomes.push(found);
    else identified.push(found);
  }
  const orchestrations = new Set(
    identified.filter(({ kind }) => kind === "orchestrations").map(({ id }) => id),
  );
  for (const kind of KINDS) {
    const ofKind = identified.filter((entry) => entry.kind === kind);
    if (ofKind.length === 0) continue;
    const ids = ofKind.map(({ id }) => id);
    const stored = await readOwnDefinitions(services.sql, kind, owner, ids);
    const planned = { ...plannedBy(outcomes), orchestrations };
    outcomes.push(
      ...(await inGroups(ofKind, (entry) =>
        planOne(services, { owner, isLenient, planned }, entry, stored.get(entry.id) ?? null),
      )),
    );
  }
  return outcomes;
}

/** Tools and MCP servers are stored under their names. */
function idFieldOf(kind: DefinitionKind): "id" | "name" {
  return kind === "tools" || kind === "mcp_servers" ? "name" : "id";
}

/** The entry with its id. @param seen the names of earlier entries, to which this one's is added */
function identify(entry: Entry, seen: Set<string>): Identified | Refused {
  const { kind, path, json } = entry;
  const refuse = (id: string | null, error: FieldError): Refused => ({
    is: "refused",
    kind,
    path,
    id,
    code: "invalid",
    errors: [error],
  });
  if (!isTable(json)) return refuse(null, { path: "", message: "must be an object" });
  const field = idFieldOf(kind);
  const id = NewDefinitionId.safeParse(json[field]);
  if (!id.success) {
    const [issue] = id.error.issues;
    const message = json[field] === undefined ? "is required" : (issue?.message ?? "is no id");
    return refuse(null, { path: field, message });
  }
  const name = `${kind}/${id.data}`;
  if (seen.has(name))
    return refuse(id.data, { path: field, message: "is the id of an earlier definition too" });
  seen.add(name);
  return { ...entry, id: id.data, body: json };
}

async function planOne(
  services: SyncServices,
  { owner, isLenient, planned }: SyncScope & { planned: Planned },
  { kind, path, id, body: bundled }: Identified,
  stored: OwnDefinition | null,
): Promise<SyncOutcome> {
  const { body, warnings, renamed } = importedBody(kind, bundled);
  try {
    const read = await definitionToSave(services, kind, { id, owner, body, isLenient, planned });
    const isSame = await isAlreadyStored(services, { kind, owner, id }, stored, read.row.definition);
    const isNew = stored === null || stored.is_deleted;
    return {
      is: isSame ? "unchanged" : isNew ? "created" : "updated",
      kind,
      path,
      id,
      storedVersion: stored?.version ?? 0,
      row: read.row,
      warnings: [...warnings, ...read.warnings],
    };
  } catch (error) {
    return refused({ kind, path, id }, error, renamed);
  }
}

/**
 * The outcome of a definition that a save refuses, with at most 20 of its errors.
 * @param renamed see `Imported`
 * @throws `error` itself when it is not about the definition, such as a store that cannot be reached
 */
export function refused(
  { kind, path, id }: Pick<Accepted, "kind" | "path" | "id">,
  error: unknown,
  renamed: ReadonlyMap<string, string> = new Map(),
): Refused {
  const { code, message, fields } = toAppError(error);
  if (code !== "invalid" && code !== "not_yet") throw error;
  const errors = (fields ?? [{ path: "", message }]).map((one) => ({
    ...one,
    path: renamed.get(one.path) ?? one.path,
  }));
  const more = errors.length - MAX_ERRORS;
  const shown =
    more <= 0 ? errors : [...errors.slice(0, MAX_ERRORS), { path: "", message: `${more} more errors` }];
  return { is: "refused", kind, path, id, code, errors: shown };
}

function plannedBy(outcomes: readonly SyncOutcome[]): Omit<Planned, "orchestrations"> {
  const accepted = outcomes.filter((outcome): outcome is Accepted => outcome.is !== "refused");
  const of = (kind: DefinitionKind) => accepted.filter((one) => one.kind === kind);
  return {
    agents: new Map(
      of("agents").map(({ id, row }) => [id, AgentFields.parse({ ...JSON.parse(row.definition), id })]),
    ),
    tools: new Set(of("tools").map(({ id }) => id)),
    mcpServers: new Set(of("mcp_servers").map(({ id }) => id)),
  };
}
