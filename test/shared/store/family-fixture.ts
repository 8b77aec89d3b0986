/** Parents, children and waits, and the entries with which runs park and end. */
import type { Incarnation, RunId } from "../../../shared/contracts/ids.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import type { EntryColumns } from "../../../shared/store/journal/entry-columns.ts";
import type { NewEntry } from "../../../shared/store/journal/new-entry.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { readWaits } from "../../../shared/store/runs/waits.ts";
import type { NewWait, Wait } from "../../../shared/store/runs/waits.ts";
import { stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

/** A running run, with its owner. */
export type StartedRun = ClaimedRun & { owner: Incarnation };

/** Accepts a run as a child of `parent`. `wait` is the id of the wait that its end answers. */
export async function acceptChild(store: Store, parent: RunId, wait: string): Promise<RunId> {
  const run = await store.accept();
  await store.sql`update runs set parent_run_id = ${parent}, parent_wait_id = ${wait} where run_id = ${run}`;
  return run;
}

/** Accepts a child, and claims it with a new online worker. */
export async function startChild(store: Store, parent: RunId, wait: string): Promise<StartedRun> {
  const run = await acceptChild(store, parent, wait);
  const owner = await store.addWorker();
  return { ...(await store.claim(owner, run)), owner };
}

/** A question to a human without a deadline, unless `changes` say otherwise. */
export function humanWait(wait_id: string, changes: Partial<NewWait> = {}): NewWait {
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

/** A wait for a child's end. */
export function childWait(wait_id: string, child_run_id: RunId): NewWait {
  return humanWait(wait_id, { kind: "child", prompt: null, child_run_id });
}

/** The entry that parks a run until one of its waits is answered, or an hour has passed. */
export function parkEntry(run: StartedRun, waits: NewWait[], changes: Partial<EntryColumns> = {}): NewEntry {
  return stepEntry(run, { kind: "park", status: "paused", wake_ms: 3_600_000, steps: 0, waits, ...changes });
}

/** JSON text of an EndRecord, with characters that are hard to store. */
export const COMPLETED = JSON.stringify({
  status: "completed",
  checkpoint: null,
  response: "nul \u0000, lone \udfff",
  error: null,
});

/** The entry that ends a run as completed, unless `changes` say otherwise. */
export function endEntry(run: StartedRun, changes: Partial<EntryColumns> = {}): NewEntry {
  return stepEntry(run, {
    kind: "end",
    status: "completed",
    output: COMPLETED,
    current_step: null,
    ...changes,
  });
}

/** The number of runs that are paused although all their waits are answered. By docs/protocol.md 14.4 there are none. */
export async function countPausedWithoutOpenWait(store: Store): Promise<number> {
  const [row] = await store.sql<{ n: number }[]>`
    select count(*)::int as n from runs r
    where r.status = 'paused' and exists (select from waits w where w.run_id = r.run_id)
      and not exists (select from waits w where w.run_id = r.run_id and w.answered_at is null)`;
  return row?.n ?? 0;
}

/** All waits of a run, read as its worker reads them: waits whose deadline has passed are closed. */
export async function readAllWaits(sql: Sql, run: RunId): Promise<Wait[]> {
  const rows = await sql<{ wait_id: string }[]>`select wait_id from waits where run_id = ${run}`;
  return readWaits(
    sql,
    run,
    rows.map(({ wait_id }) => wait_id),
  );
}
