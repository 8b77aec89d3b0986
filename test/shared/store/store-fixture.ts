/** A fresh, migrated database for one test file, and functions that bring runs and workers into a given state. */
import { newRun } from "../../services/new-run.ts";
import postgres from "postgres";
import { TenantId, newIncarnation } from "../../../shared/contracts/ids.ts";
import type { Incarnation, RunId } from "../../../shared/contracts/ids.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import type { NewRun } from "../../../shared/contracts/run.ts";
import { claimRuns } from "../../../shared/store/runs/claim-runs.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import { saveOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import type { EntryColumns } from "../../../shared/store/journal/entry-columns.ts";
import { NewEntry } from "../../../shared/store/journal/new-entry.ts";
import { acceptRuns } from "../../../shared/store/runs/accept-runs.ts";
import { testConnection } from "../../services/databases.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { freshDatabase } from "../../services/services.ts";

export const acme = TenantId.parse("acme");
export const globex = TenantId.parse("globex");

export type Store = Awaited<ReturnType<typeof openStore>>;

/** Opens a database with two tenants, `acme` and `globex`, and acme's orchestration `orch`. */
export async function openStore() {
  const url = await freshDatabase();
  const sql: Sql = postgres(url, { ...testConnection, max: 8 });
  await sql`insert into tenants (tenant_id) values (${acme}), (${globex})`;
  await saveEmptyOrchestration(sql, acme, "orch");
  return {
    sql,
    url,
    close: () => sql.end({ timeout: 1 }),

    /** Accepts a run that is due now, unless `changes` give it a delay. */
    async accept(changes: Partial<NewRun> = {}): Promise<RunId> {
      const run = newRun(changes);
      const accepted = await acceptRuns(sql, [run]);
      if (!accepted.has(run.run_id)) throw new Error("the run was not accepted");
      return run.run_id;
    },

    /** Adds an online worker that has just beaten. */
    async addWorker(name = "w"): Promise<Incarnation> {
      const owner = newIncarnation(name);
      await beat(sql, onlineBeat(owner));
      return owner;
    },

    /** Claims a run that is due, or whose owner is silent. */
    async claim(owner: Incarnation, run: RunId): Promise<ClaimedRun> {
      const [claimed] = await claimRuns(sql, owner, [run]);
      if (!claimed) throw new Error(`${run} was not claimed`);
      return claimed;
    },

    /** Accepts a run, and claims it with a new online worker. */
    async startRun(changes: Partial<NewRun> = {}): Promise<ClaimedRun & { owner: Incarnation }> {
      const owner = await this.addWorker();
      return { ...(await this.claim(owner, await this.accept(changes))), owner };
    },

    /** Sets a worker's last beat back by some seconds. */
    async ageBeat(owner: Incarnation, seconds: number): Promise<void> {
      await sql`update workers set beat_at = now() - ${seconds} * interval '1 second' where incarnation = ${owner}`;
    },

    /** The statements that wait for a lock: they cannot go on before the transaction that has it. */
    async countLockWaits(): Promise<number> {
      const { count } = await sql`
        select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
      return count;
    },

    /** All columns of a run. */
    async row(run: RunId) {
      const [row] = await sql`select * from runs where run_id = ${run}`;
      if (!row) throw new Error(`the run ${run} does not exist`);
      return row;
    },
  };
}

/** A beat of an online worker that serves all lanes and reaches the queue. */
export function onlineBeat(owner: Incarnation) {
  return {
    incarnation: owner,
    worker_id: "w",
    hostname: "host",
    address: "http://host:9000",
    status: "online" as const,
    lanes: Lane.options,
    slots: 10,
    active: 0,
    loop_lag_ms: 0,
    redis_ok: true,
    // As long as a slow machine may take between two steps of a test.
    silent_after_ms: 12_000,
  };
}

/** Saves an orchestration whose definition is `{}`. @returns its version */
export async function saveEmptyOrchestration(sql: Sql, owner: TenantId | "", id: string): Promise<number> {
  return saveOrchestration(sql, owner, { id, name: id, description: "", definition: "{}" });
}

/**
 * An entry under this claim's fence: the result of step `a`, with two events, unless `changes` say otherwise. Columns that
 * the entry's kind does not have are dropped.
 */
export function stepEntry(
  run: Pick<ClaimedRun, "run_id" | "attempt" | "event_seq" | "signals"> & { owner: Incarnation },
  changes: Partial<EntryColumns> = {},
): NewEntry {
  return NewEntry.parse({
    run_id: run.run_id,
    attempt: run.attempt,
    owner: run.owner,
    known_seq: run.event_seq,
    kind: "step",
    step_path: "a",
    visit: 1,
    output: "{}",
    events: '{"type":"step_start"}\n{"type":"step_complete"}',
    events_n: 2,
    deadline_ms: 60_000,
    current_step: "b",
    usage: [],
    earlier: [],
    signals: run.signals,
    waits: [],
    error: null,
    dead_letter: null,
    ...changes,
  });
}
