/** The edge with its clients. Each request is a process of its own, which can die between any two lines. docs/protocol.md 5.1, 5.7, 5.8. */
import { newRun } from "../services/new-run.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { EndRecord } from "../../shared/contracts/journal-entry.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import { writeLine } from "../../shared/events/lines.ts";
import { endEvents } from "../../shared/journal/ending.ts";
import { initialProgress } from "../../shared/journal/fold.ts";
import { NO_LIMIT } from "../../shared/queue/limits.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { CancelEnd } from "../../shared/store/runs/mark-cancelled.ts";
import { SimProcess } from "./clock.ts";
import type { Clock } from "./clock.ts";
import * as statements from "./edge-statements.ts";
import type { Network, Service, Verb } from "./network.ts";
import { QueueOverNetwork } from "./stores-over-network.ts";
import type { OrchestrationName } from "./orchestrations.ts";
import type { Auditor } from "./auditor.ts";
import type { PostgresModel } from "./postgres-model.ts";
import type { RedisModel } from "./redis-model.ts";
import type { RunRow } from "./tables.ts";

const MAX_DEPTH = 1_000;

/** What the edge reaches of the simulation. */
type Surroundings = {
  clock: Clock;
  network: Network;
  postgres: PostgresModel;
  postgresService: Service;
  redis: RedisModel;
  redisService: Service;
  auditor: Auditor;
  sendCancelHint(owner: string): void;
  trace(line: string): void;
};

export class FakeEdge {
  readonly #sim: Surroundings;
  /** The runs for which a client received a 202. */
  readonly accepted = new Set<RunId>();
  /** `run wait` → the client that received a 202 for its answer. */
  readonly answered = new Map<string, string>();
  /** The quota of each tenant. */
  readonly #queued: number;
  #requests = 0;
  /** Requests between their admission and their commit: they do not see each other. */
  #admitted = 0;
  /** Runs were accepted without the queue, and its counts are not invalidated yet. */
  #countsAreWrong = false;

  constructor(sim: Surroundings, queued: number) {
    this.#sim = sim;
    this.#queued = queued;
  }

  submit(tenant: TenantId, orchestration: OrchestrationName, lane: NewRun["lane"]): void {
    const number = ++this.#requests;
    const { nowMs } = this.#sim.clock;
    const run_id = RunId.parse(`run_${number.toString(16).padStart(12, "0")}_${nowMs}`);
    const run = newRun({
      run_id,
      tenant_id: tenant,
      orchestration_id: orchestration,
      lane,
      correlation_id: `c${number}`,
    });
    this.#request(`edge submit ${number}`, (process, queue) => this.accept(process, queue, run));
  }

  /** Admits, commits, responds, and only then enqueues. */
  async accept(process: SimProcess, queue: Queue, run: NewRun): Promise<void> {
    this.#admitted += 1;
    const isAccepted = await this.#commit(process, queue, run).finally(() => (this.#admitted -= 1));
    if (!isAccepted) return queue.giveBack([{ run: run.run_id, tenant: run.tenant_id }]);
    this.accepted.add(run.run_id);
    const job = jobOf({ ...run, queued_at_ms: this.#sim.clock.nowMs });
    await queue.enqueue([{ ...job, status: "queued", delayMs: run.delay_ms }]);
  }

  async #commit(process: SimProcess, queue: Queue, run: NewRun): Promise<boolean> {
    const counted = await this.#admit(queue, run);
    if (counted === "no") return false;
    return this.#query(process, "accept", (beganAtMs) => {
      const { postgres, auditor } = this.#sim;
      const isAccepted = statements.acceptRun(postgres, run, counted, beganAtMs);
      if (isAccepted) auditor.checkAccept(run.tenant_id, this.#admitted - 1);
      return isAccepted;
    });
  }

  /** Which store has counted the run; "no": it is refused. */
  async #admit(
    queue: Queue,
    run: { run_id: RunId; tenant_id: TenantId },
  ): Promise<"queue" | "postgres" | "no"> {
    try {
      if (this.#countsAreWrong) await queue.invalidateCounts(0);
      this.#countsAreWrong = false;
      const [answer] = await queue.admit([{ run: run.run_id, tenant: run.tenant_id }], MAX_DEPTH);
      if (answer?.ok) return "queue";
      const cannotCount =
        answer?.reason === "cold" || answer?.reason === "rebuilding" || answer?.reason === "unknown";
      return cannotCount ? "postgres" : "no";
    } catch {
      this.#countsAreWrong = true;
      return "postgres";
    }
  }

  cancel(run: RunId): void {
    this.#request(`edge cancel ${run}`, async (process, queue) => {
      const status = await this.#query(
        process,
        "read",
        () => this.#sim.postgres.tables.runs.get(run)?.status,
      );
      const known = await this.#query(process, "read", () => this.#endOf(run));
      if (!status || !known) return;
      const [answer] = await this.#query(process, "cancel", () =>
        statements.cancelRuns(
          this.#sim.postgres,
          status === "running" ? [run] : [],
          status === "running" ? [] : [known.end],
        ),
      );
      if (answer?.status === "cancelled") {
        await queue.finish([{ run, tenant: known.row.tenant_id }], "");
      } else if (answer?.owner) {
        this.#sim.sendCancelHint(answer.owner);
      }
    });
  }

  #endOf(run: RunId): { row: RunRow; end: CancelEnd } | null {
    const row = this.#sim.postgres.tables.runs.get(run);
    if (!row) return null;
    const record: EndRecord = {
      status: "cancelled",
      checkpoint: null,
      response: "The run was cancelled.",
      error: null,
    };
    const lines = endEvents({ run_id: run, steps: [] }, record, initialProgress({})).map((event) =>
      writeLine(event, new Date(), row.correlation_id),
    );
    const end = { run_id: run, known_seq: row.event_seq, events: lines.join("\n"), events_n: lines.length };
    return { row, end: { ...end, output: JSON.stringify(record) } };
  }

  retry(run: RunId): void {
    this.#request(`edge retry ${run}`, async (process, queue) => {
      const row = await this.#query(process, "read", () => {
        const found = this.#sim.postgres.tables.runs.get(run);
        return found && { ...found };
      });
      if (row?.status !== "failed" && row?.status !== "cancelled") return;
      const counted = await this.#admit(queue, row);
      if (counted === "no") return;
      const rewind = {
        run_id: run,
        tenant_id: row.tenant_id,
        known_seq: row.event_seq,
        output: JSON.stringify({ keep_seq: row.event_seq }),
        event: writeLine({ type: "run_retried", from_step_id: null }, new Date(), row.correlation_id),
      };
      const queued = await this.#query(process, "retry", () =>
        statements.retryRun(this.#sim.postgres, rewind, counted),
      );
      if (!queued) return;
      const job = jobOf({ ...row, queued_at_ms: queued.queued_at_ms });
      await queue.enqueue([{ ...job, status: "queued", delayMs: 0 }]);
    });
  }

  /** A client answers the question that is open now. Of several answers to it one is accepted. */
  answer(run: RunId): void {
    this.#request(`edge answer ${run}`, async (process, queue) => {
      const answeredBy = `key_${++this.#requests}`;
      const wait = await this.#query(process, "read", () => {
        const waits = this.#sim.postgres.tables.waitsOf(run);
        return waits.find(({ kind, answered_by }) => kind === "human" && answered_by === null)?.wait_id;
      });
      if (wait === undefined) return;
      const outcome = await this.#query(process, "answer", () =>
        statements.answerWait(this.#sim.postgres, run, wait, JSON.stringify({ by: answeredBy }), answeredBy),
      );
      if (outcome.is !== "answered") return;
      this.answered.set(`${run} ${wait}`, answeredBy);
      const { status } = outcome.run;
      if (status === "running") return;
      await queue.enqueue([{ ...jobOf(outcome.run), status, delayMs: 0 }]);
    });
  }

  setLimit(tenant: TenantId, max_concurrent_runs: number): void {
    this.#request(`edge limits ${tenant}`, async (process, queue) => {
      const row = await this.#query(process, "save", () =>
        statements.saveTenant(this.#sim.postgres, tenant, {
          max_concurrent_runs,
          max_queued_runs: this.#queued,
        }),
      );
      const { version } = row;
      await queue.pushLimits([
        {
          tenant,
          version,
          maxConcurrentRuns: max_concurrent_runs,
          maxQueuedRuns: this.#queued,
          requestsPerSecond: 1_000,
          weight: 1,
          runsPerMinute: NO_LIMIT,
        },
      ]);
    });
  }

  #request(name: string, handle: (process: SimProcess, queue: Queue) => Promise<void>): void {
    const { network, redisService, redis, clock, trace } = this.#sim;
    const process = new SimProcess(name, clock);
    const queue = new QueueOverNetwork(network, process, redisService, redis);
    process.deliver(() => {
      // A client that receives an error does not know the outcome: the request may have been committed.
      handle(process, queue).catch((error: unknown) => trace(`${name} failed: ${String(error)}`));
    });
  }

  #query<Answer>(process: SimProcess, verb: Verb, act: (beganAtMs: number) => Answer): Promise<Answer> {
    return this.#sim.network.call(process, this.#sim.postgresService, verb, act);
  }
}
