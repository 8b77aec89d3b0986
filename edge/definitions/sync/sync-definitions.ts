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
import { isStoredSo } from "./is-stored-so.ts";
import { inGroups } from "./in-groups.ts";
import { planSync, refused } from "./plan.ts";
import type { Accepted, Outcome, Refused, SyncScope } from "./plan.ts";

/** A definition that the request names to delete. `absent`: the owner has none of that id. */
export type Deletion = Pick<Accepted, "kind" | "path" | "id"> & { is: "deleted" | "absent" };

/**
 * Makes the owner's definitions those of a bundle, kind by kind, and then deletes those that the request names. Each definition is
 * saved as a whole or not at all, in a statement of its own; one that is stored already is left as it is, so a repetition
 * changes nothing. A definition that cannot be saved stops no other.
 * @throws AppError when a store cannot be reached; what was saved until then stays, and a repetition completes it
 */
export async function syncDefinitions(
  services: Pick<Services, "sql" | "config">,
  scope: SyncScope,
  request: SyncRequest,
  isDryRun: boolean,
): Promise<(Outcome | Deletion)[]> {
  const { owner } = scope;
  const planned = await planSync(services, scope, entriesOf(request));
  const outcomes = isDryRun ? planned : await saveAll(services, owner, planned);
  const sent = new Set(planned.map(({ kind, id }) => `${kind}/${id}`));
  return [...outcomes, ...(await deleteAll(services, owner, request.delete, sent, isDryRun))];
}

async function saveAll(
  services: Pick<Services, "sql" | "config">,
  owner: Owner,
  planned: readonly Outcome[],
): Promise<Outcome[]> {
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
): Promise<Outcome> {
  const { sql } = services;
  const { kind, id, row, seen } = one;
  try {
    const version =
      kind === "orchestrations"
        ? await saveOrchestrationIf(sql, owner, row, seen)
        : await saveDefinitionIf(sql, kind, owner, row, seen);
    if (version !== null) return one;
    // Another save was first. It may have been that of the same bundle.
    const stored = (await readOwnDefinitions(sql, kind, owner, [id])).get(id) ?? null;
    const isSame = await isStoredSo(services, { kind, owner, id }, stored, row.definition);
    return isSame ? { ...one, is: "unchanged" } : overtaken(one);
  } catch (error) {
    return refused(one, error);
  }
}

/** Its warnings, and whether it was a change, are about a version that is no more the newest. */
function overtaken({ kind, path, id }: Accepted): Refused {
  const message = "was saved by another request at the same time: compare it, and send it again";
  return { is: "refused", kind, path, id, code: "conflict", errors: [{ path: "", message }] };
}

/** In the opposite order, so that no definition is without one that it names for longer than it has to. */
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
