import type { Owner } from "../../../shared/contracts/tenant.ts";
import { deleteDefinition, saveDefinitionIf } from "../../../shared/store/definitions/agents-and-tools.ts";
import {
  deleteOrchestration,
  saveOrchestrationIf,
} from "../../../shared/store/definitions/orchestrations.ts";
import { readOwnDefinitions } from "../../../shared/store/definitions/own-definitions.ts";
import type { Services } from "../../services.ts";
import { KINDS, entriesOf } from "./bundle.ts";
import type { SyncRequest } from "./bundle.ts";
import { isAlreadyStored } from "./is-already-stored.ts";
import { inGroups } from "../../http/in-groups.ts";
import { planSync, refused } from "./plan.ts";
import type { Accepted, SyncOutcome, Refused, SyncScope } from "./plan.ts";

/** A definition that the request names in `delete`. `absent`: the owner has no definition with that id. */
export type Deletion = Pick<Accepted, "kind" | "path" | "id"> & { is: "deleted" | "absent" };

/**
 * Saves the definitions of a bundle for their owner, kind by kind, and then deletes those that the request names in `delete`. Each
 * definition is saved as a whole or not at all, in a statement of its own; a definition that is stored already gets no new version, so
 * a repetition changes nothing. A definition that cannot be saved stops no other.
 * @throws AppError when a store cannot be reached; what was saved until then stays, and a repetition completes it
 */
export async function syncDefinitions(
  services: Pick<Services, "sql" | "config">,
  scope: SyncScope,
  request: SyncRequest,
  isDryRun: boolean,
): Promise<(SyncOutcome | Deletion)[]> {
  const { owner } = scope;
  const planned = await planSync(services, scope, entriesOf(request));
  const outcomes = isDryRun ? planned : await saveAll(services, owner, planned);
  const sent = new Set(planned.map(({ kind, id }) => `${kind}/${id}`));
  return [...outcomes, ...(await deleteAll(services, owner, request.delete, sent, isDryRun))];
}

async function saveAll(
  services: Pick<Services, "sql" | "config">,
  owner: Owner,
  planned: readonly SyncOutcome[],
): Promise<SyncOutcome[]> {
  const outcomes = planned.filter(({ is }) => is === "refused" || is === "unchanged");
  for (const kind of KINDS) {
    const ofKind = planned.filter(
      (one): one is Accepted => one.kind === kind && (one.is === "created" || one.is === "updated"),
    );
    outcomes.push(...(await inGroups(ofKind, (one) => save(services, owner, one))));
  }
  return outcomes;
}

async function save(
  services: Pick<Services, "sql" | "config">,
  owner: Owner,
  one: Accepted,
): Promise<SyncOutcome> {
  const { sql } = services;
  const { kind, id, row, storedVersion } = one;
  try {
    const version =
      kind === "orchestrations"
        ? await saveOrchestrationIf(sql, owner, row, storedVersion)
        : await saveDefinitionIf(sql, kind, owner, row, storedVersion);
    if (version !== null) return one;
    // Another save was first. It may have saved the same definition.
    const stored = (await readOwnDefinitions(sql, kind, owner, [id])).get(id) ?? null;
    const isSame = await isAlreadyStored(services, { kind, owner, id }, stored, row.definition);
    return isSame ? { ...one, is: "unchanged" } : overtaken(one);
  } catch (error) {
    return refused(one, error);
  }
}

/** The refusal of a definition that another request saved meanwhile: its warnings were made for an older version. */
function overtaken({ kind, path, id }: Accepted): Refused {
  const message = "was saved by another request at the same time: compare it, and send it again";
  return { is: "refused", kind, path, id, code: "conflict", errors: [{ path: "", message }] };
}

/** Deletes in the opposite order of the kinds: a definition is deleted before those that it names. @param sent `kind/id` of the bundle's */
async function deleteAll(
  { sql }: Pick<Services, "sql">,
  owner: Owner,
  names: readonly string[],
  sent: ReadonlySet<string>,
  isDryRun: boolean,
): Promise<(Deletion | Refused)[]> {
  const found: (Deletion | Refused)[] = [];
  const wanted = [...new Set(names)].map((name) => ({ name, path: `delete[${names.indexOf(name)}]` }));
  for (const kind of KINDS.toReversed()) {
    const ofKind = wanted
      .filter(({ name }) => name.startsWith(`${kind}/`))
      .map(({ name, path }) => ({ kind, path, id: name.slice(kind.length + 1), name }));
    if (ofKind.length === 0) continue;
    const ids = ofKind.map(({ id }) => id);
    const stored = isDryRun ? await readOwnDefinitions(sql, kind, owner, ids) : null;
    const remove = async (id: string): Promise<boolean> => {
      if (stored !== null) return stored.get(id)?.is_deleted === false;
      return kind === "orchestrations"
        ? deleteOrchestration(sql, owner, id)
        : deleteDefinition(sql, kind, owner, id);
    };
    const ended = await inGroups(ofKind, async ({ path, id, name }): Promise<Deletion | Refused> => {
      if (!sent.has(name)) return { is: (await remove(id)) ? "deleted" : "absent", kind, path, id };
      const message = "is in the same request as a definition to save: send one of both";
      return { is: "refused", kind, path, id, code: "invalid", errors: [{ path: "", message }] };
    });
    found.push(...ended);
  }
  return found;
}
