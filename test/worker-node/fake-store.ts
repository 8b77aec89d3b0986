/** The model of Postgres that test/simulation/contract.test.ts holds to Postgres, behind a connection that fails on demand. */
import { TenantId, newRunId } from "../../shared/contracts/ids.ts";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { columnsOf } from "../../shared/store/journal/entry-columns.ts";
import type { EntryColumns } from "../../shared/store/journal/entry-columns.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { PostgresModel } from "../simulation/postgres-model.ts";
import type { RunRow } from "../simulation/tables.ts";
import { slowPeer } from "../services/waiting.ts";
import { refusingStore } from "./fakes.ts";

/**
 * What happens to one flush. `fail`: it is not committed. `lose`: it is committed, and its reply is lost. `slow`: it is
 * committed after `ms`. `held`: it is committed after `until`. `fail_next_query`: it is committed, and the next query fails.
 */
export type LinkFault =
  | { is: "ok" }
  | { is: "fail" }
  | { is: "lose" }
  | { is: "slow"; ms: number }
  | { is: "held"; until: Promise<void> }
  | { is: "fail_next_query" };

/** The fake Postgres never accepts an output that contains this text. */
export const POISON = '"what Postgres rejects"';

export class SqlError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(`SQLSTATE ${code}`);
    this.code = code;
  }
}

/** An entry and its earlier results, as the journal gets them: each an entry of its own. */
function withEarlier(entry: EntryColumns): EntryColumns[] {
  const running = {
    status: null,
    error: null,
    dead_letter: null,
    usage: [],
    waits: [],
    steps: 1,
    earlier: [],
  };
  return [
    ...entry.earlier.map((result) => ({ ...entry, ...running, ...result })),
    { ...entry, earlier: [], steps: entry.steps - entry.earlier.length },
  ];
}

/** A store with the verbs that a journal calls. The other verbs are refused until a test replaces them. */
export class FakeStore {
  readonly model = new PostgresModel(() => Date.now(), {
    // The orchestrations that runs may start.
    orchestrations: new Map([["child", "{}"]]),
    named: new Map(),
  });
  /** All entries that were committed, in order. */
  readonly entries: EntryColumns[] = [];
  /** Sizes of the batches that were flushed, in order. */
  readonly batches: number[] = [];
  /** The faults of the next flushes, in order. Later flushes have none. */
  readonly linkFaults: LinkFault[] = [];
  #nextQueryFails = false;

  /** A run that `owner` has just claimed. */
  open(owner: Incarnation) {
    const now = Date.now();
    const run_id = newRunId(now);
    const row: RunRow = {
      run_id,
      tenant_id: TenantId.parse("acme"),
      orchestration_id: "orch",
      lane: "default",
      priority: 0,
      correlation_id: "c",
      input: "{}",
      status: "running",
      attempt: 1,
      owner,
      wake_at: now,
      deadline_at: now + 60_000,
      event_seq: 0,
      signals: 0,
      crash_count: 0,
      cancel_requested_at: null,
      queued_at: now,
      started_at: now,
      paused_at: null,
      paused_for: 0,
      ended_at: null,
      tokens: 0,
      cost_micro_usd: 0,
      step_count: 0,
      journal_bytes: 0,
      error: null,
    };
    this.model.tables.runs.set(run_id, row);
    this.model.tables.workers.set(owner, {
      beat_at: Infinity,
      redis_ok: true,
      silences: 0,
      silent_after: Infinity,
    });
    const { tenant_id, attempt, event_seq, signals, correlation_id, journal_bytes } = row;
    return {
      run_id,
      tenant_id,
      attempt,
      event_seq,
      signals,
      correlation_id,
      journal_bytes,
      has_budget: false,
    };
  }

  /** A run that `owner` has just claimed, with all that a claim returns. */
  claimed(owner: Incarnation): ClaimedRun {
    return {
      ...this.open(owner),
      orchestration_id: "orch",
      definition_tenant: "acme",
      definition_version: 1,
      crash_count: 0,
      takeover: false,
      cancel: false,
      lane: "default",
      priority: 0,
      input: JSON.stringify({ message: "hello", state: {} }),
      queued_at_ms: 0,
      running_for_ms: 0,
      cost_micro_usd: 0,
    };
  }

  /** The entries of a run that were committed, in order. */
  entriesOf(run: RunId): EntryColumns[] {
    return this.entries.filter((entry) => entry.run_id === run);
  }

  /** The row of a run, to read and to change. */
  row(run: RunId): RunRow {
    const row = this.model.tables.runs.get(run);
    if (!row) throw new Error(`no ${run}`);
    return row;
  }

  readonly store: StateStore = {
    ...refusingStore,
    flush: async (entries) => {
      const fault = this.linkFaults.shift() ?? { is: "ok" };
      this.batches.push(entries.length);
      await (fault.is === "held" ? fault.until : slowPeer(fault.is === "slow" ? fault.ms : 1));
      if (fault.is === "fail") throw new SqlError("08006");
      const rows = entries.map(columnsOf);
      const single = rows.flatMap(withEarlier);
      if (single.some((row) => row.output?.includes(POISON))) throw new SqlError("22021");
      const committed = this.model.flush(entries);
      const runs = new Set(committed.map(({ run_id }) => run_id));
      this.entries.push(...single.filter(({ run_id }) => runs.has(run_id)));
      if (fault.is === "lose") throw new SqlError("08006");
      this.#nextQueryFails = fault.is === "fail_next_query";
      return committed;
    },
    findCommitted: (entries) => this.#query(() => this.model.findCommitted(entries)),
    readModelPrices: async () => [],
    readInput: (run) => this.#query(() => this.model.readInput(run)),
    readStoredPage: (...args) => this.#query(() => this.model.readStoredPage(...args)),
    readWaits: (...args) => this.#query(() => this.model.readWaits(...args)),
    startChild: (...args) => this.#query(() => this.model.startChild(...args)),
    cancelChild: (...args) => this.#query(() => this.model.cancelChild(...args)),
    abandonTrack: (...args) => this.#query(() => this.model.abandonTrack(...args)),
    readRunSnapshots: (runs) => this.#query(() => this.model.readRunSnapshots(runs)),
  };

  async #query<Result>(read: () => Result): Promise<Result> {
    await slowPeer(1);
    if (this.#nextQueryFails) {
      this.#nextQueryFails = false;
      throw new SqlError("57P01");
    }
    return read();
  }
}
