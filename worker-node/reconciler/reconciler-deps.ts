import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { IndexProgress } from "../../shared/queue/index-progress.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { FileStore } from "../files/file-store.ts";
import type { QueueLinks } from "../fleet/queue-links.ts";
import type { WorkerTiming } from "../fleet/worker-timing.ts";

/** How often this process made each kind of repair. The names are labels of `synapse_repairs_total`. */
export type Repairs = Record<
  | "enqueued"
  | "rebuilt"
  | "silent"
  | "overdue"
  | "turns"
  | "limits"
  | "forgotten"
  | "stray"
  | "singletons"
  | "orphans"
  | "archived"
  | "resealed",
  number
>;

/** The counts of a process that has just started. */
export function noRepairs(): Repairs {
  return {
    enqueued: 0,
    rebuilt: 0,
    silent: 0,
    overdue: 0,
    turns: 0,
    limits: 0,
    forgotten: 0,
    stray: 0,
    singletons: 0,
    orphans: 0,
    archived: 0,
    resealed: 0,
  };
}

/** What the repairs share. */
export type RepairDeps = {
  owner: Incarnation;
  store: StateStore;
  queue: Queue;
  links: QueueLinks;
  timing: WorkerTiming;
  /** Whether the tenants' `max_*` limits hold in this deployment. */
  isolation: boolean;
  /** Null: this worker has no object store now, and leaves the repairs of it to workers that have one. */
  files: () => FileStore | null;
  /** The keys of MASTER_KEYS. Absent or null: this worker does not have that variable, and leaves sealed values as they are. */
  masterKeys?: MasterKeys | null;
  /** See Heartbeat. */
  announceQueue(): Promise<void>;
  repairs: Repairs;
};

/** The index of each shard, as a pass found it. */
export type Shards = Map<number, IndexProgress>;

/** The most rows or jobs that one statement or script handles. */
export const PAGE = 1_000;
