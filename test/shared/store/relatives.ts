/** Runs that wait for each other. */
import type { Incarnation, RunId } from "../../../shared/contracts/ids.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim.ts";
import type { EntryColumns } from "../../../shared/store/journal/entry-columns.ts";
import type { NewEntry } from "../../../shared/store/journal/new-entry.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { readWaits } from "../../../shared/store/runs/waits.ts";
import type { NewWait, Wait } from "../../../shared/store/runs/waits.ts";
import { entryOf } from "./world.ts";
import type { Store } from "./world.ts";

export type Running = ClaimedRun & { owner: Incarnation };

/** A queued run that `parent` has started, and waits for under the name of `wait`. */
export async function childOf(store: Store, parent: RunId, wait: string): Promise<RunId> {
  const run = await store.accept();
  await store.sql`update runs set parent_run_id = ${parent}, parent_wait_id = ${wait} where run_id = ${run}`;
  return run;
}

export async function runningChildOf(store: Store, parent: RunId, wait: string): Promise<Running> {
  const run = await childOf(store, parent, wait);
  const owner = await store.worker();
  return { ...(await store.claim(owner, run)), owner };
}

export function waitFor(wait_id: string, changes: Partial<NewWait> = {}): NewWait {
  return {
    wait_id,
    step_id: "ask",
    kind: "human",
    prompt: "go on?",
    fields: null,
    deadline_ms: null,
    child_run_id: null,
    ...changes,
  };
}

export function waitForChild(wait_id: string, child_run_id: RunId): NewWait {
  return waitFor(wait_id, { kind: "child", prompt: null, child_run_id });
}

/** The entry by which a run sleeps until one of its waits is answered, or an hour has passed. */
export function parkOf(run: Running, waits: NewWait[], changes: Partial<EntryColumns> = {}): NewEntry {
  return entryOf(run, { kind: "park", status: "paused", wake_ms: 3_600_000, waits, ...changes });
}

export const COMPLETED = JSON.stringify({
  status: "completed",
  checkpoint: null,
  response: "nul \u0000, lone \udfff",
  error: null,
});

export function endOf(run: Running, changes: Partial<EntryColumns> = {}): NewEntry {
  return entryOf(run, {
    kind: "end",
    status: "completed",
    output: COMPLETED,
    ...changes,
  });
}

/** How many runs sleep although nothing is left to wait for: docs/protocol.md 14.4 says none. */
export async function sleepers(store: Store): Promise<number> {
  const [row] = await store.sql<{ n: number }[]>`
    select count(*)::int as n from runs r
    where r.status = 'paused' and exists (select from waits w where w.run_id = r.run_id)
      and not exists (select from waits w where w.run_id = r.run_id and w.answered_at is null)`;
  return row?.n ?? 0;
}

/** All waits of a run, as its worker finds them. */
export async function waitsOf(sql: Sql, run: RunId): Promise<Wait[]> {
  const rows = await sql<{ wait_id: string }[]>`select wait_id from waits where run_id = ${run}`;
  return readWaits(
    sql,
    run,
    rows.map(({ wait_id }) => wait_id),
  );
}
