/** Fake workers: each claims one run and commits results, parks and ends as a worker does, through the real statements. */
import { z } from "zod";
import { newIncarnation, RunId } from "../../shared/contracts/ids.ts";
import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { Checkpoint } from "../../shared/contracts/journal-entry.ts";
import { Lane } from "../../shared/contracts/run.ts";
import { claimRuns } from "../../shared/store/runs/claim-runs.ts";
import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import { flush } from "../../shared/store/journal/flush.ts";
import type { EntryColumns } from "../../shared/store/journal/entry-columns.ts";
import type { Committed } from "../../shared/store/journal/flush.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { beat } from "../../shared/store/workers/beats.ts";
import { stepEntry } from "../shared/store/store-fixture.ts";

/** The trace of a failure, as a worker writes it. */
export const FAILED_AT = "TerminalError boom\n    at two (worker-node/engine/steps/print.ts:3:7)";

export class FakeWorker {
  readonly #sql: Sql;
  readonly run: RunId;
  readonly owner: Incarnation;
  claimedRun: ClaimedRun;
  seq: number;

  private constructor(sql: Sql, owner: Incarnation, claimed: ClaimedRun) {
    this.#sql = sql;
    this.run = claimed.run_id;
    this.owner = owner;
    this.claimedRun = claimed;
    this.seq = claimed.event_seq;
  }

  /** Claims a run for a new fake worker, which has beaten once. */
  static async claim(sql: Sql, run: string): Promise<FakeWorker> {
    const owner = newIncarnation("w");
    await beat(sql, {
      incarnation: owner,
      worker_id: "w",
      hostname: "host",
      address: "http://host:9000",
      status: "online",
      lanes: Lane.options,
      slots: 10,
      active: 1,
      loop_lag_ms: 0,
      redis_ok: true,
      silent_after_ms: 12_000,
    });
    const [claimed] = await claimRuns(sql, owner, [RunId.parse(run)]);
    if (!claimed) throw new Error(`${run} was not claimed`);
    return new FakeWorker(sql, owner, claimed);
  }

  async write(changes: Partial<EntryColumns>): Promise<Committed | undefined> {
    const events = changes.events ?? '{"type":"step_complete"}';
    const run = { ...this.claimedRun, owner: this.owner, event_seq: this.seq };
    const columns = { current_step: null, ...changes, events, events_n: events.split("\n").length };
    const [row] = await flush(this.#sql, [stepEntry(run, columns)]);
    if (row) this.seq = row.event_seq;
    return row;
  }

  /** Commits the checkpoint of a step that set `key`. */
  async step(step: string, key: string, value: string, next: string | null, visit = 1): Promise<void> {
    const checkpoint: Checkpoint = {
      step,
      visit,
      type: "print",
      name: step,
      set: { [key]: value },
      next,
      output_key: key,
      started_at: new Date().toISOString(),
      duration_ms: 5,
      tries: 1,
      tokens: 0,
      cost_micro_usd: 0,
      effects: [],
    };
    const output = JSON.stringify(checkpoint);
    await this.write({ kind: "step", step_path: step, visit, output, current_step: next });
  }

  /** Parks the run until the next try of the step, in `ms`. */
  async park(step: string, ms: number): Promise<void> {
    const error = { code: "tool_unavailable", message: "the tool answered HTTP 503" };
    const output = JSON.stringify({
      step,
      visit: 1,
      reason: "retry",
      tries: 2,
      error,
      first_failed_at: new Date().toISOString(),
    });
    await this.write({
      kind: "park",
      step_path: step,
      output,
      status: "queued",
      wake_ms: ms,
    });
  }

  async end(status: "completed" | "failed" | "cancelled"): Promise<Committed | undefined> {
    const error = status === "failed" ? { code: "boom", message: "it broke", step_id: "two" } : null;
    const record = { status, checkpoint: null, response: "said", error };
    return this.write({
      kind: "end",
      step_path: null,
      visit: null,
      output: JSON.stringify(record),
      events: '{"type":"orchestration_complete","final_state":{}}\n{"type":"done"}',
      status,
      error: error && JSON.stringify(error),
      dead_letter: error && { ...error, stack: FAILED_AT, tries: 3, first_failed_at: null },
    });
  }
}

/** Completes step one of a run and fails it in step two. */
export async function failRun(sql: Sql, run: string): Promise<FakeWorker> {
  const worker = await FakeWorker.claim(sql, run);
  await worker.step("one", "a", "1", "two");
  await worker.end("failed");
  return worker;
}

/** The entries of a run's journal, in order. */
export async function journalOf(sql: Sql, run: string) {
  return sql<{ seq: number; kind: string; attempt: number; output: string | null; events: string }[]>`
    select seq, kind, attempt, output, events from journal where run_id = ${run} order by seq`;
}

const Typed = z.object({ type: z.string() });

/** The types of a run's events, in order. */
export async function eventTypesOf(sql: Sql, run: string): Promise<string[]> {
  const lines = (await journalOf(sql, run)).flatMap((entry) => entry.events.split("\n"));
  return lines.map((line) => Typed.parse(JSON.parse(line)).type);
}
