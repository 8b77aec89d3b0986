/** Runs that wait for each other. */
import type { Incarnation, RunId } from "../../../shared/contracts/ids.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import type { NewEntry } from "../../../shared/store/journal/flush.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { readWaits } from "../../../shared/store/runs/waits.ts";
import type { NewWait, Wait } from "../../../shared/store/runs/waits.ts";
import { stepEntry } from "./world.ts";
import type { Store } from "./world.ts";

export type StartedRun = ClaimedRun & { owner: Incarnation };

/** A queued run that `parent` has started, and waits for under the name of `wait`. */
export async function acceptChild(store: Store, parent: RunId, wait: string): Promise<RunId> {
  const run = await store.accept();
  await store.sql`update runs set parent_run_id = ${parent}, parent_wait_id = ${wait} where run_id = ${run}`;
  return run;
}

export async function startChild(store: Store, parent: RunId, wait: string): Promise<StartedRun> {
  const run = await acceptChild(store, parent, wait);
  const owner = await store.addWorker();
  return { ...(await store.claim(owner, run)), owner };
}

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

export function childWait(wait_id: string, child_run_id: RunId): NewWait {
  return humanWait(wait_id, { kind: "child", prompt: null, child_run_id });
}

/** The entry by which a run sleeps until one of its waits is answered, or an hour has passed. */
export function parkEntry(run: StartedRun, waits: NewWait[], changes: Partial<NewEntry> = {}): NewEntry {
  return stepEntry(run, { kind: "park", status: "paused", wake_ms: 3_600_000, steps: 0, waits, ...changes });
}

export const COMPLETED = JSON.stringify({
  status: "completed",
  checkpoint: null,
  response: "nul \u0000, lone \udfff",
  error: null,
});

export function endEntry(run: StartedRun, changes: Partial<NewEntry> = {}): NewEntry {
  return stepEntry(run, {
    kind: "end",
    status: "completed",
    output: COMPLETED,
    current_step: null,
    ...changes,
  });
}

/** How many runs sleep although nothing is left to wait for: docs/protocol.md 14.4 says none. */
export async function countStrandedRuns(store: Store): Promise<number> {
  const [row] = await store.sql<{ n: number }[]>`
    select count(*)::int as n from runs r
    where r.status = 'paused' and exists (select from waits w where w.run_id = r.run_id)
      and not exists (select from waits w where w.run_id = r.run_id and w.answered_at is null)`;
  return row?.n ?? 0;
}

/** All waits of a run, as its worker finds them. */
export async function readAllWaits(sql: Sql, run: RunId): Promise<Wait[]> {
  const rows = await sql<{ wait_id: string }[]>`select wait_id from waits where run_id = ${run}`;
  return readWaits(
    sql,
    run,
    rows.map(({ wait_id }) => wait_id),
  );
}
