/** The journal of runs as Postgres keeps it, in memory, with a wire to it that fails as wires do. */
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
 * What happens to one flush: `fail` before it is committed, `lose` its reply after it was, answer after `slow` ms, or
 * `deaf`: it is committed, and the questions that follow get no answer.
 */
export type Weather =
  | { is: "ok" }
  | { is: "fail" }
  | { is: "lose" }
  | { is: "slow"; ms: number }
  | { is: "deaf" };

/** An output that Postgres would never take. */
export const POISON = '"poison"';

export class SqlError extends Error {
  readonly code: string;
  constructor(code: string) {
    super(`SQLSTATE ${code}`);
    this.code = code;
  }
}

export class Truth {
  readonly rows = new Map<RunId, Row>();
  readonly entries: EntryColumns[] = [];
  /** Sizes of the batches that were flushed, in order. */
  readonly batches: number[] = [];
  readonly weather: Weather[] = [];
  #deaf = false;

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
      const weather = this.weather.shift() ?? { is: "ok" };
      this.batches.push(entries.length);
      await sleep(weather.is === "slow" ? weather.ms : 1);
      if (weather.is === "fail") throw new SqlError("08006");
      const rows = entries.map(columnsOf);
      if (rows.some((row) => row.output === POISON)) throw new SqlError("22021");
      const committed = rows.flatMap((row) => this.#commit(row));
      if (weather.is === "lose") throw new SqlError("08006");
      this.#deaf = weather.is === "deaf";
      return committed;
    },
    findCommitted: async (asked) => {
      await sleep(1);
      this.#hear();
      return asked.flatMap(({ run_id, seq, attempt }) =>
        this.of(run_id).some((entry) => entry.known_seq + entry.events_n === seq && entry.attempt === attempt)
          ? [run_id]
          : [],
      );
    },
    readRunSnapshots: async (runs) => {
      await sleep(1);
      this.#hear();
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

  #hear(): void {
    if (!this.#deaf) return;
    this.#deaf = false;
    throw new SqlError("57P01");
  }
}
