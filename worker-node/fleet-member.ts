import type { Incarnation } from "../shared/contracts/ids.ts";
import type { Queue } from "../shared/queue/queue.ts";
import type { MasterKeys } from "../shared/security/master-keys.ts";
import type { StateStore } from "../shared/store/state.ts";
import type { ExecutionDeps } from "./execution/execution-state.ts";
import type { ClaimLoopDeps } from "./fleet/claim-loop.ts";
import { Heartbeat } from "./fleet/heartbeat.ts";
import type { HeartbeatDeps, WorkerReport } from "./fleet/heartbeat.ts";
import { LeaseRenewal } from "./fleet/lease-renewal.ts";
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
  /** See RepairDeps. */
  isolation: boolean;
  report(): WorkerReport;
  /** See Heartbeat. */
  onDrain?: () => void;
  onSettings?: NonNullable<HeartbeatDeps["onSettings"]>;
  waitForWork: ClaimLoopDeps["waitForWork"];
  endWaits: ClaimLoopDeps["endWaits"];
  execution: Omit<ExecutionDeps, "confirm" | "laneSettings">;
  /** See RepairDeps. */
  masterKeys: MasterKeys | null;
};

/**
 * One worker's part in the fleet: its beats, its leases, its share of the repairs and its claims. These parts depend on each
 * other in one direction only: worker and reconciler → heartbeat, lease renewal → heartbeat → tracked runs. All of them report to the
 * queue links what they observe of the stores.
 */
export class FleetMember {
  readonly heartbeat: Heartbeat;
  readonly leaseRenewal: LeaseRenewal;
  readonly reconciler: Reconciler;
  readonly worker: Worker;

  constructor(deps: FleetMemberDeps) {
    const links = new QueueLinks(deps.queue.shards, deps.timing);
    const tracked = new TrackedRuns();
    const { laneSettings } = deps.slots;
    const heartbeat = new Heartbeat({ ...deps, links, tracked, laneSettings });
    const leaseRenewal = new LeaseRenewal({ ...deps, links, tracked, heartbeat });
    const announceQueue = () => heartbeat.announceQueue();
    const confirm: ExecutionDeps["confirm"] = (run, signal) => leaseRenewal.confirm(run.run_id, signal);
    this.heartbeat = heartbeat;
    this.leaseRenewal = leaseRenewal;
    this.reconciler = new Reconciler({ ...deps, files: deps.execution.files, links, announceQueue });
    const execution = { ...deps.execution, confirm, laneSettings: laneSettings.of };
    this.worker = new Worker({ ...deps, links, heartbeat, tracked, execution });
  }

  /** The first beat comes before anything is claimed: a run whose owner has no row in `workers` counts as abandoned. */
  async start(): Promise<void> {
    await this.heartbeat.beat();
    this.heartbeat.start();
    this.leaseRenewal.start();
    this.reconciler.start();
    this.worker.start();
  }

  /** After the worker was drained. */
  async stop(): Promise<void> {
    await this.reconciler.stop();
    this.heartbeat.stop();
    this.leaseRenewal.stop();
    await this.heartbeat.leave();
  }
}
