/** The tables of Postgres, as far as the core reads and writes them. Times are milliseconds of its clock. */
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { NewRun, RunStatus } from "../../shared/contracts/run.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { EntryColumns } from "../../shared/store/journal/entry-columns.ts";
import type { NewWait } from "../../shared/store/runs/waits.ts";

export type RunRow = Pick<
  NewRun,
  "run_id" | "tenant_id" | "orchestration_id" | "lane" | "priority" | "correlation_id" | "input"
> & {
  status: RunStatus;
  attempt: number;
  owner: string | null;
  wake_at: number | null;
  deadline_at: number | null;
  event_seq: number;
  signals: number;
  crash_count: number;
  cancel_requested_at: number | null;
  queued_at: number;
  started_at: number | null;
  paused_at: number | null;
  paused_for: number;
  ended_at: number | null;
  tokens: number;
  cost_micro_usd: number;
  step_count: number;
  journal_bytes: number;
  error: string | null;
  /** Absent: no run has started it. */
  parent_run_id?: RunId;
  parent_wait_id?: string | null;
  depth?: number;
  cost_limit_micro_usd?: number | null;
  time_limit_ms?: number | null;
};

export type JournalRow = Pick<
  EntryColumns,
  "kind" | "step_path" | "visit" | "output" | "events" | "events_n"
> & {
  run_id: RunId;
  seq: number;
  attempt: number;
  /** Absent: long ago. */
  at?: number;
};

export type TenantRow = {
  tenant_id: TenantId;
  max_concurrent_runs: number;
  max_queued_runs: number;
  version: number;
  updated_at: number;
};

export type Letter = { run_id: RunId; seq: number; code: string; attempt: number; resolved: boolean };

type WaitKind = NewWait["kind"];

/** `answered_by`: null while the wait is open. */
export type WaitRow = {
  run_id: RunId;
  wait_id: string;
  kind: WaitKind;
  opened_at: number;
  deadline_at: number | null;
  answer: string | null;
  answered_by: string | null;
  level: number;
  /** Of a wait for a child. */
  child_run_id?: RunId;
};

export class Tables {
  readonly runs = new Map<RunId, RunRow>();
  readonly journal = new Map<RunId, JournalRow[]>();
  readonly usage: (Usage & { run_id: RunId; seq: number })[] = [];
  readonly workers = new Map<
    string,
    { beat_at: number; redis_ok: boolean; silences: number; silent_after: number }
  >();
  readonly locks = new Map<string, { holder: string; until: number }>();
  readonly tenants = new Map<TenantId, TenantRow>();
  readonly letters: Letter[] = [];
  readonly waits: WaitRow[] = [];

  entriesOf(run: RunId): JournalRow[] {
    return this.journal.get(run) ?? [];
  }

  waitsOf(run: RunId): WaitRow[] {
    return this.waits.filter(({ run_id }) => run_id === run);
  }

  /** Writes an entry, and adds its bytes to its run. */
  write(entry: JournalRow): void {
    const row = this.runs.get(entry.run_id);
    if (row) row.journal_bytes += Buffer.byteLength(entry.events) + Buffer.byteLength(entry.output ?? "");
    const entries = this.journal.get(entry.run_id);
    if (entries) entries.push(entry);
    else this.journal.set(entry.run_id, [entry]);
  }
}

/** Checks the constraints of the table `runs`. @throws Error with the name of the constraint that the row breaks */
export function checkRow(row: RunRow): void {
  const ended = row.ended_at !== null;
  const no = (name: string): never => {
    throw new Error(`${row.run_id} breaks ${name}: ${JSON.stringify(row)}`);
  };
  if (TERMINAL.has(row.status) !== ended) no("terminal_has_ended");
  if (ended !== (row.wake_at === null)) no("awake_until_it_ends");
  if ((row.status === "running") !== (row.owner !== null)) no("running_has_owner");
  if (row.status === "running" && row.deadline_at === null) no("running_has_deadline");
}
