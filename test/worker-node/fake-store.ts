/** An in-memory store of runs and their journal, with the conditions of Postgres and a link that fails as a test sets it. */
import { setTimeout as sleep } from "node:timers/promises";
import { TenantId } from "../../shared/contracts/ids.ts";
import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { newRunId } from "../../shared/contracts/ids.ts";
import { columnsOf } from "../../shared/store/journal/entry-columns.ts";
import type { EntryColumns } from "../../shared/store/journal/entry-columns.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { refusingStore } from "./fakes.ts";

export type Row = {
  attempt: number;
  owner: string | null;
  status: "running" | "queued" | "paused" | "completed" | "failed" | "cancelled";
  event_seq: number;
  signals: number;
  cancel: boolean;
};

/**
 * What happens to one flush. `fail`: an error before the commit. `lose`: the reply is lost after the commit. `slow`: the
 * reply comes after `ms`. `deaf`: it is committed, and the next read fails.
 */
export type LinkFault =
  | { is: "ok" }
  | { is: "fail" }
  | { is: "lose" }
  | { is: "slow"; ms: number }
  | { is: "deaf" };

/** An output that Postgres would never accept. */
export const POISON = '"poison"';

export class SqlError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(`SQLSTATE ${code}`);
    this.code = code;
  }
}

export class FakeStore {
  readonly rows = new Map<RunId, Row>();
  readonly entries: EntryColumns[] = [];
  /** Sizes of the flushed batches, in order. */
  readonly batches: number[] = [];
  readonly linkFaults: LinkFault[] = [];
  #nextReadFails = false;

  open(owner: Incarnation) {
    const run_id = newRunId(Date.now());
    this.rows.set(run_id, { attempt: 1, owner, status: "running", event_seq: 0, signals: 0, cancel: false });
    return { run_id, attempt: 1, event_seq: 0, signals: 0, correlation_id: "c" };
  }

  of(run: RunId): EntryColumns[] {
    return this.entries.filter((entry) => entry.run_id === run);
  }

  row(run: RunId): Row {
    const row = this.rows.get(run);
    if (!row) throw new Error(`no ${run}`);
    return row;
  }

  #commit(entry: EntryColumns) {
    const row = this.row(entry.run_id);
    const fenced =
      row.status !== "running" ||
      row.attempt !== entry.attempt ||
      row.owner !== entry.owner ||
      row.event_seq !== entry.known_seq ||
      (entry.kind === "park" && row.signals !== entry.signals);
    if (fenced) return [];
    row.event_seq += entry.events_n;
    row.status = entry.status ?? row.status;
    if (entry.status !== null) row.owner = null;
    this.entries.push(entry);
    const { event_seq, signals, cancel } = row;
    return [{ run_id: entry.run_id, event_seq, signals, cancel, webhook: false }];
  }

  readonly store: StateStore = {
    ...refusingStore,
    flush: async (entries) => {
      const fault = this.linkFaults.shift() ?? { is: "ok" };
      this.batches.push(entries.length);
      await sleep(fault.is === "slow" ? fault.ms : 1);
      if (fault.is === "fail") throw new SqlError("08006");
      const rows = entries.map(columnsOf);
      if (rows.some((row) => row.output === POISON)) throw new SqlError("22021");
      const committed = rows.flatMap((row) => this.#commit(row));
      if (fault.is === "lose") throw new SqlError("08006");
      this.#nextReadFails = fault.is === "deaf";
      return committed;
    },
    findCommitted: async (entries) => {
      await sleep(1);
      this.#failIfSet();
      return entries.flatMap(({ run_id, seq, attempt }) =>
        this.of(run_id).some((entry) => entry.known_seq + entry.events_n === seq && entry.attempt === attempt)
          ? [run_id]
          : [],
      );
    },
    readRunSnapshots: async (runs) => {
      await sleep(1);
      this.#failIfSet();
      return runs.map((run_id) => {
        const { owner, ...row } = this.row(run_id);
        const job = {
          tenant_id: TenantId.parse("acme"),
          lane: "default" as const,
          priority: 0,
          queued_at_ms: 0,
        };
        return { run_id, ...job, ...row, owner, owner_silent: false, due_in_ms: 0 };
      });
    },
  };

  #failIfSet(): void {
    if (!this.#nextReadFails) return;
    this.#nextReadFails = false;
    throw new SqlError("57P01");
  }
}
