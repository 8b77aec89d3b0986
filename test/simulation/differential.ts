/** Runs each command on Postgres and on its model, which have to return the same. */
import { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { NewEntry } from "../../shared/store/journal/new-entry.ts";
import type { NewWait } from "../../shared/store/runs/waits.ts";
import { cancelRuns } from "../../shared/store/runs/mark-cancelled.ts";
import { acceptRuns } from "../../shared/store/runs/accept-runs.ts";
import { retryRun } from "../../shared/store/runs/requeue-for-retry.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { stateStore } from "../../shared/store/state.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { saveTenant } from "../../shared/store/tenants/tenant-rows.ts";
import { answerWait } from "../../shared/store/runs/answer-wait.ts";
import { acme, onlineBeat, globex } from "../shared/store/store-fixture.ts";
import { newRun } from "../services/new-run.ts";
import * as statements from "./edge-statements.ts";
import { PostgresModel } from "./postgres-model.ts";
import type { Statements } from "./postgres-model.ts";
import type { ContractCommand } from "./contract-commands.ts";

const OWNERS = ["w0#00000000", "w1#00000001", "w2#00000002"].map((name) => Incarnation.parse(name));
const TENANTS = [acme, globex] as const;
const EVENT = '{"type":"checkpoint"}';

/** Either store: the model returns at once, Postgres later. */
type Store = StateStore | Statements;

export class Differential {
  readonly #sql: Sql;
  readonly #store: StateStore;
  readonly #model: PostgresModel;
  #nowMs = 0;
  /** The lead of the model's time. In Postgres the times of all rows are moved back instead. */
  #aheadMs = 0;
  #runs: RunId[] = [];

  constructor(sql: Sql, Model: typeof PostgresModel = PostgresModel) {
    this.#sql = sql;
    this.#store = stateStore(sql);
    this.#model = new Model(() => this.#nowMs, { orchestrations: new Map(), named: new Map() });
  }

  async begin(): Promise<void> {
    await this.#sql`truncate runs, journal, usage, dead_letters, waits, workers, locks`;
    for (const tenant of TENANTS) await this.#limit(tenant, 2);
  }

  /** Runs a command on both. @returns the results of Postgres and of the model, in that order */
  async run(command: ContractCommand): Promise<[unknown, unknown]> {
    await this.#readClock();
    switch (command.do) {
      case "accept":
        return this.#accept(command.tenant, command.delayMs, command.counted);
      case "pass":
        return this.#pass(command.ms);
      case "limit":
        return this.#limit(TENANTS[command.tenant] ?? acme, command.to);
      case "cancel":
        return this.#cancel(command.run);
      case "retry":
        return this.#retry(command.run, command.behind, command.counted);
      case "answer":
        return this.#answer(command.run, `q${command.wait}`);
      case "flush": {
        const entries = command.entries.flatMap((each) => this.#entryOf(each));
        const once = [...new Map(entries.map((entry) => [entry.run_id, entry])).values()];
        return this.#both((store) => store.flush(once));
      }
      default:
        return this.#both((store) => this.#execute(store, command));
    }
  }

  /** The rows of both, without times. */
  async tables(): Promise<[unknown, unknown]> {
    const { runs, journal, usage, letters, waits } = this.#model.tables;
    const rows = await this.#sql`
      select run_id, status, attempt, owner, event_seq, signals, crash_count, step_count, error,
        tokens::float8 as tokens, cost_micro_usd::float8 as cost_micro_usd, journal_bytes::float8 as journal_bytes, wake_at is null as ended,
        cancel_requested_at is null as uncancelled, started_at is null as unstarted, paused_at is null as unpaused,
        round(extract(epoch from paused_for)::numeric, 0)::float8 as paused_s, ended_at is null as open
      from runs order by run_id`;
    const entries = await this.#sql`
      select run_id, seq, events_n, attempt, kind, step_path, visit, output, events from journal order by run_id, seq`;
    const calls = await this.#sql`select run_id, seq, call from usage order by run_id, seq, call`;
    const deadLetters = await this.#sql`
      select run_id, seq, code, attempt, resolved_at is not null as resolved from dead_letters order by run_id, seq`;
    const questions = await this.#sql`
      select run_id, wait_id, answer, answered_by, deadline_at is null as endless from waits order by run_id, wait_id`;
    const model = {
      rows: [...runs.values()].map((row) => ({
        run_id: row.run_id,
        status: row.status,
        attempt: row.attempt,
        owner: row.owner,
        event_seq: row.event_seq,
        signals: row.signals,
        crash_count: row.crash_count,
        step_count: row.step_count,
        error: row.error,
        tokens: row.tokens,
        cost_micro_usd: row.cost_micro_usd,
        journal_bytes: row.journal_bytes,
        ended: row.wake_at === null,
        uncancelled: row.cancel_requested_at === null,
        unstarted: row.started_at === null,
        unpaused: row.paused_at === null,
        paused_s: Math.round(row.paused_for / 1_000),
        open: row.ended_at === null,
      })),
      entries: [...journal.values()].flat().map(({ at: _at, ...entry }) => entry),
      calls: usage.map(({ run_id, seq, call }) => ({ run_id, seq, call })),
      dead: letters,
      questions: waits.map(({ run_id, wait_id, answer, answered_by, deadline_at }) => ({
        run_id,
        wait_id,
        answer,
        answered_by,
        endless: deadline_at === null,
      })),
    };
    return [sorted({ rows, entries, calls, dead: deadLetters, questions }), sorted(model)];
  }

  #execute(
    store: Store,
    command: Exclude<
      ContractCommand,
      { do: "accept" | "pass" | "limit" | "cancel" | "retry" | "answer" | "flush" }
    >,
  ) {
    const owner = OWNERS[command.owner] ?? Incarnation.parse("w#00000000");
    const runs = command.runs.flatMap((n) => this.#runs[n] ?? []);
    switch (command.do) {
      case "claim":
        return command.silences === undefined
          ? store.claim(owner, runs)
          : store.claim(owner, runs, command.silences);
      case "claimDirectly":
        return store.claimDirectly(owner, command.slots, ["default"]);
      case "readRunSnapshots":
        return store.readRunSnapshots(runs);
      case "handBack":
        return store.handBack(
          owner,
          runs.map((run_id) => ({ run_id, attempt: this.#row(run_id)?.attempt ?? 0 })),
        );
      case "findCommitted":
        return store.findCommitted(
          runs.map((run_id) => ({ run_id, seq: this.#row(run_id)?.event_seq ?? 0, attempt: command.slots })),
        );
      case "beat":
        return store.beat({ ...onlineBeat(owner), ...(command.silences === 1 && { voids_claims: true }) });
      case "takeLock":
        // No few passes end just before the lock does: then the duration of a statement would decide, in Postgres alone.
        return store.takeLock("lock", owner, 50_000);
      case "listDueRuns":
        return listDueRuns(store, command.slots * 3_000);
      case "listOwners":
        return store.listOwners();
      case "listRunningRuns":
        return store.listRunningRuns({ owner: "", run_id: runs[0] ?? "" }, 1_000);
      case "listChangedLimits":
        return store.listChangedLimits({ at: "-infinity", tenant: "" }, 1_000);
      case "reclaimFromSilent":
        return reclaimFromSilent(store, owner);
      case "reclaimOverdue":
        return reclaimOverdue(store);
      case "readWaits":
        return store.readWaits(runs[0] ?? RunId.parse("run_000000000000_0"), ["q0", "q1"]);
      case "readInput":
        return store.readInput(runs[0] ?? RunId.parse("run_000000000000_0"));
      case "readStoredPage":
        return store.readStoredPage(runs[0] ?? RunId.parse("run_000000000000_0"), command.slots - 1, 1_000);
      case "countWithoutWakeup":
        return store.countWithoutWakeup();
    }
  }

  async #both(execute: (store: Store) => unknown): Promise<[unknown, unknown]> {
    const result = await execute(this.#store);
    return [withoutTimes(result), withoutTimes(await execute(this.#model))];
  }

  async #accept(
    tenant: number,
    delay_ms: number,
    counted: "queue" | "postgres",
  ): Promise<[unknown, unknown]> {
    const run_id = RunId.parse(`run_${String(this.#runs.length).padStart(12, "0")}_1800000000000`);
    const run = newRun({ run_id, tenant_id: TENANTS[tenant] ?? acme, delay_ms, orchestration_id: "orch" });
    const accepted = await acceptRuns(this.#sql, [run], counted);
    const isAccepted = statements.acceptRun(this.#model, run, counted);
    if (accepted.has(run_id)) this.#runs.push(run_id);
    return [accepted.has(run_id), isAccepted];
  }

  async #pass(ms: number): Promise<[unknown, unknown]> {
    this.#aheadMs += ms;
    const back = `${ms} milliseconds`;
    await this.#sql`
      update runs set wake_at = wake_at - ${back}::text::interval, deadline_at = deadline_at - ${back}::text::interval,
        queued_at = queued_at - ${back}::text::interval, started_at = started_at - ${back}::text::interval,
        paused_at = paused_at - ${back}::text::interval`;
    await this.#sql`update waits set deadline_at = deadline_at - ${back}::text::interval`;
    await this.#sql`update workers set beat_at = beat_at - ${back}::text::interval`;
    await this.#sql`update locks set until = until - ${back}::text::interval`;
    return [null, null];
  }

  async #limit(tenant: (typeof TENANTS)[number], max_concurrent_runs: number): Promise<[unknown, unknown]> {
    const limits = { max_concurrent_runs, max_queued_runs: 3 };
    const saved = await saveTenant(this.#sql, { tenant_id: tenant, ...limits }, 1_000);
    if (!saved) throw new Error("no history deletes a tenant");
    statements.saveTenant(this.#model, tenant, limits).version = saved.version;
    return [null, null];
  }

  #cancel(nth: number): Promise<[unknown, unknown]> | [unknown, unknown] {
    const run_id = this.#runs[nth];
    const row = run_id && this.#row(run_id);
    if (!run_id || !row) return [null, null];
    const end = { run_id, known_seq: row.event_seq, events: EVENT, events_n: 1, output: "{}" };
    const cancelled = statements.cancelRuns(this.#model, [run_id], [end]);
    return cancelRuns(this.#sql, [run_id], [end]).then((result) => [
      withoutTimes(result),
      withoutTimes(cancelled),
    ]);
  }

  async #answer(nth: number, wait: string): Promise<[unknown, unknown]> {
    const run = this.#runs[nth];
    if (!run) return [null, null];
    const result = await answerWait(this.#sql, { tenant: null, run, waitId: wait, answer: "{}", by: "ann" });
    return [withoutTimes(result), withoutTimes(statements.answerWait(this.#model, run, wait, "{}", "ann"))];
  }

  async #retry(nth: number, behind: number, counted: "queue" | "postgres"): Promise<[unknown, unknown]> {
    const run_id = this.#runs[nth];
    const row = run_id && this.#row(run_id);
    if (!run_id || !row) return [null, null];
    const known_seq = row.event_seq - behind;
    const rewind = { run_id, tenant_id: row.tenant_id, known_seq, output: '{"keep_seq":0}', event: EVENT };
    const result = await retryRun(this.#sql, rewind, counted);
    return [withoutTimes(result), withoutTimes(statements.retryRun(this.#model, rewind, counted))];
  }

  #entryOf(each: Extract<ContractCommand, { do: "flush" }>["entries"][number]): NewEntry[] {
    const run_id = this.#runs[each.run];
    const row = run_id && this.#row(run_id);
    if (!run_id || !row) return [];
    const owner = each.isOwner && row.owner !== null ? Incarnation.parse(row.owner) : OWNERS[0];
    if (!owner) return [];
    const call = {
      call: "model.1",
      provider: "p",
      model: "m",
      input_tokens: 3,
      output_tokens: 4,
      cost_micro_usd: 5,
    };
    const failed = {
      code: "broken",
      message: "it broke",
      stack: null,
      step_id: null,
      tries: 1,
      first_failed_at: null,
    };
    const status =
      each.kind === "end"
        ? each.end
        : each.kind === "park"
          ? "queued"
          : each.kind === "ask"
            ? "paused"
            : null;
    const asks = each.kind === "ask" || each.kind === "askInBranch";
    const waits = asks ? [questionOf("q0", 20_000), questionOf("q1", null)] : [];
    return [
      NewEntry.parse({
        run_id,
        attempt: row.attempt - each.attemptBehind,
        owner,
        known_seq: row.event_seq - each.seqBehind,
        kind: asks ? "park" : each.kind,
        step_path: each.kind === "end" ? null : "a",
        visit: each.kind === "end" ? null : 1,
        output: "{}",
        status,
        events: `${EVENT}\n${EVENT}`,
        events_n: 2,
        earlier: Array.from({ length: each.earlier }, (_, i) => ({
          kind: "step",
          step_path: `before${i}`,
          visit: 1,
          output: `{"n":${i}}`,
          events: Array(i + 1)
            .fill(EVENT)
            .join("\n"),
          events_n: i + 1,
        })),
        deadline_ms: 20_000,
        current_step: "a",
        usage: each.kind === "turn" ? [call] : [],
        wake_ms: each.kind === "park" ? 7_000 : each.kind === "ask" ? 60_000 : null,
        // A track that waits beside others keeps the run's slot, whatever signals have come.
        signals: each.kind === "askInBranch" ? null : row.signals - each.signalsBehind,
        waits,
        error: status === "failed" ? "{}" : null,
        dead_letter: status === "failed" ? failed : null,
      }),
    ];
  }

  #row(run: RunId) {
    return this.#model.tables.runs.get(run);
  }

  /** Sets the model's clock to that of Postgres; they differ by the duration of a statement. */
  async #readClock(): Promise<void> {
    const [row] = await this.#sql<{ now_ms: number; started_ms: number }[]>`
      select extract(epoch from now())::float8 * 1000 as now_ms,
        extract(epoch from pg_postmaster_start_time())::float8 * 1000 as started_ms`;
    if (!row) throw new Error("Postgres returned no time");
    this.#nowMs = Math.round(row.now_ms) + this.#aheadMs;
    this.#model.startedAt = row.started_ms + this.#aheadMs;
  }
}

function questionOf(wait_id: string, deadline_ms: number | null): NewWait {
  return { wait_id, step_id: "a", kind: "human", prompt: "?", fields: "[]", deadline_ms, child_run_id: null };
}

/** The due runs of a scan that begins `agoMs` ago, by each store's own clock. */
async function listDueRuns(store: Store, agoMs: number): Promise<unknown> {
  const { now_ms } = await store.readScanBounds(null);
  const { from, until } = await store.readScanBounds(agoMs === 0 ? null : now_ms - agoMs);
  return store.listDueRuns({ at: from, run_id: "" }, until, 1_000);
}

async function reclaimFromSilent(store: Store, owner: string): Promise<unknown> {
  const known = (await store.listOwners()).find((each) => each.owner === owner);
  return store.reclaimFromSilent(owner, known?.beat_at ?? null);
}

async function reclaimOverdue(store: Store): Promise<unknown> {
  return store.reclaimOverdue(await store.listOverdueRuns());
}

/** A result without times, with its rows in order. */
function withoutTimes(answer: unknown): unknown {
  const text = JSON.stringify(answer, (key, value: unknown) => {
    if (key === "due_in_ms") return typeof value === "number" && value > 0;
    const isTime =
      /_ms$|_at$|^(definition_version|definition_tenant|orchestration_id|correlation_id|input|version)$/.test(
        key,
      );
    return isTime && value !== null ? "set" : value;
  });
  return text === undefined ? null : sorted(JSON.parse(text));
}

/** Sorts rows by their text, and fields by their names. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value))
    return value.map(sorted).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, inner]): [string, unknown] => [name, sorted(inner)]);
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
