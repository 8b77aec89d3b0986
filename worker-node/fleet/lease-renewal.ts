import type { Incarnation, RunId } from "../../shared/contracts/ids.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import { abortableSleep } from "../execution/stop.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { QueueLinks } from "./queue-links.ts";
import type { TrackedRun, TrackedRuns } from "./tracked-runs.ts";
import type { WorkerTiming } from "./worker-timing.ts";

/** The pause between two tries of `confirm` while no store confirms. */
const CONFIRM_PAUSE_MS = 1_000;

export type LeaseRenewalDeps = {
  owner: Incarnation;
  queue: Queue;
  links: QueueLinks;
  timing: WorkerTiming;
  tracked: TrackedRuns;
  heartbeat: Heartbeat;
};

/**
 * Renews a worker's leases in Redis, which save double work and decide nothing. docs/protocol.md 5.3. Renewals and beats do not
 * wait for each other.
 */
export class LeaseRenewal {
  readonly #deps: LeaseRenewalDeps;
  /** When the last renewal that was confirmed for every lease was sent. */
  #confirmedMs = -Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: LeaseRenewalDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#timer = setInterval(() => void this.#renew(), this.#deps.timing.renewMs);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /**
   * Resolves when a beat or a renewal succeeded within `freshConfirmationMs`; otherwise it beats until one does. So a process
   * that was stopped for a minute notices before its next call to the outside that its runs were taken over.
   * @throws Error when the run is superseded, or the reason of `signal`
   */
  async confirm(run: RunId, signal: AbortSignal): Promise<void> {
    const { heartbeat, tracked } = this.#deps;
    while (this.#isUnconfirmed()) {
      await heartbeat.beat();
      signal.throwIfAborted();
      if (this.#isUnconfirmed()) await abortableSleep(CONFIRM_PAUSE_MS, signal);
    }
    if (!tracked.get(run)) throw new Error(`the execution of ${run} was superseded`);
  }

  #isUnconfirmed(): boolean {
    const { heartbeat, timing } = this.#deps;
    const confirmedMs = Math.max(this.#confirmedMs, heartbeat.confirmedMs);
    return performance.now() - confirmedMs > timing.freshConfirmationMs;
  }

  async #renew(): Promise<void> {
    const { queue, tracked } = this.#deps;
    const byShard = Map.groupBy(tracked, ({ job }) => queueShardOf(job.tenant, queue.shards));
    await Promise.all(Array.from(byShard, ([shard, runs]) => this.#renewShard(shard, runs)));
  }

  async #renewShard(shard: number, runs: readonly TrackedRun[]): Promise<void> {
    const { owner, queue, links, timing, tracked, heartbeat } = this.#deps;
    const { leaseMs } = timing;
    const sentMs = performance.now();
    const byRun = new Map(runs.map((run) => [run.job.run, run]));
    try {
      const renewal = await queue.renew({ shard, owner, leaseMs, runs: [...byRun.keys()] });
      const { lostLeases, unknownLeases } = renewal;
      // A run that Redis does not know may have been taken over, and ended, since: then nothing is confirmed.
      if (lostLeases.length + unknownLeases.length === 0)
        this.#confirmedMs = Math.max(this.#confirmedMs, sentMs);
      // Another worker asks Postgres for these runs. It gets them only if Postgres saw this worker silent: the reply to a
      // beat says so, and stops their executions.
      if (lostLeases.length > 0) void heartbeat.beatAgain();
      // No worker has these leases: Redis lost them. Postgres says whose runs they are. A run that ended here while the
      // renewal was under way is rightly unknown: its slot must not be taken again.
      const restorable = unknownLeases.filter(
        (run) => heartbeat.owns(run) && tracked.get(run) === byRun.get(run),
      );
      const jobs = restorable.map((run) => byRun.get(run)?.job).filter((job) => job !== undefined);
      await queue.restoreLeases({ jobs, owner, leaseMs });
    } catch (error) {
      if (error instanceof ColdError) links.reportCold(shard);
      else {
        log.warn("lease.renew_failed", { shard, message: messageOf(error) });
        // Reported here too: a worker without a free slot does not claim, and would not notice that the shard is unreachable.
        links.reportFailed(shard);
      }
    }
  }
}
