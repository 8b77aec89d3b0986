import type { Incarnation } from "../shared/contracts/ids.ts";
import type { Queue } from "../shared/queue/queue.ts";
import type { StateStore } from "../shared/store/state.ts";
import type { ExecutionDeps } from "./execution/execution-state.ts";
import type { ClaimLoopDeps } from "./fleet/claim-loop.ts";
import { Heartbeat } from "./fleet/heartbeat.ts";
import type { WorkerReport } from "./fleet/heartbeat.ts";
import { Leases } from "./fleet/leases.ts";
import { QueueLinks } from "./fleet/queue-links.ts";
import type { Slots } from "./fleet/slots.ts";
import { TrackedRuns } from "./fleet/tracked-runs.ts";
import type { WorkerTiming } from "./fleet/worker-timing.ts";
import { Worker } from "./fleet/worker.ts";
import { Reconciler } from "./reconciler/reconciler.ts";

export type FleetMemberDeps = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  slots: Slots;
  timing: WorkerTiming;
  isolation: boolean;
  report(): WorkerReport;
  waitForWork: ClaimLoopDeps["waitForWork"];
  execution: Omit<ExecutionDeps, "confirm">;
};

/**
 * One worker's part in the fleet: its sign of life, its leases, its share of the repairs and its claims. They know each other
 * one way only: worker and reconciler → heartbeat, leases → heartbeat → tracked runs; all report what they observe of the
 * stores to the queue links.
 */
export class FleetMember {
  readonly heartbeat: Heartbeat;
  readonly leases: Leases;
  readonly reconciler: Reconciler;
  readonly worker: Worker;

  constructor(deps: FleetMemberDeps) {
    const links = new QueueLinks(deps.queue.shards, deps.timing);
    const tracked = new TrackedRuns();
    const heartbeat = new Heartbeat({ ...deps, links, tracked });
    const leases = new Leases({ ...deps, links, tracked, heartbeat });
    const announceQueue = () => heartbeat.announceQueue();
    const confirm: ExecutionDeps["confirm"] = (run, signal) => leases.confirm(run.run_id, signal);
    this.heartbeat = heartbeat;
    this.leases = leases;
    this.reconciler = new Reconciler({ ...deps, links, announceQueue });
    const execution = { ...deps.execution, confirm };
    this.worker = new Worker({ ...deps, links, heartbeat, tracked, execution });
  }

  /** The first beat comes before anything is claimed: a run whose owner has no row in `workers` counts as abandoned. */
  async start(): Promise<void> {
    await this.heartbeat.beat();
    this.heartbeat.start();
    this.leases.start();
    this.reconciler.start();
    this.worker.start();
  }

  /** After the worker was drained. */
  async stop(): Promise<void> {
    await this.reconciler.stop();
    this.heartbeat.stop();
    this.leases.stop();
  }
}
