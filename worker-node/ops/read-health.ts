import { storeFaultOf } from "../../shared/store/store-cause.ts";
import type { StoreCause } from "../../shared/store/store-cause.ts";
import type { WorkerStatus } from "./worker-status.ts";

/** A store that does not answer a check within this time is down. */
const CHECK_MS = 2_000;

/** The body of `/health`. Each `*_connected` is the outcome of a request made for this response. */
export type Health = ReturnType<WorkerStatus["forHealth"]> & {
  status: "ok" | "degraded" | "draining";
  pg_connected: boolean;
  redis_connected: boolean;
  /** Null: no object store is configured. */
  s3_connected: boolean | null;
  /** Why a store is not connected; a connected store has no cause. */
  causes: { postgres?: StoreCause; redis?: StoreCause; object_store?: StoreCause };
};

/** One request to each store. A check that rejects, or takes longer than 2 s, counts as down. */
export type StoreChecks = {
  postgres(): Promise<unknown>;
  redis(): Promise<unknown>;
  objectStore: (() => Promise<unknown>) | null;
};

/** Checks all stores at the same time. Takes 2 s at most. */
export async function readHealth(status: WorkerStatus, checks: StoreChecks): Promise<Health> {
  const [postgres, redis, objectStore] = await Promise.all([
    storeFaultOf(checks.postgres, CHECK_MS),
    storeFaultOf(checks.redis, CHECK_MS),
    checks.objectStore && storeFaultOf(checks.objectStore, CHECK_MS),
  ]);
  const isHealthy = postgres === null && redis === null && objectStore === null;
  return {
    status: status.isDraining ? "draining" : isHealthy ? "ok" : "degraded",
    ...status.forHealth(),
    pg_connected: postgres === null,
    redis_connected: redis === null,
    s3_connected: checks.objectStore && objectStore === null,
    causes: {
      ...(postgres && { postgres }),
      ...(redis && { redis }),
      ...(objectStore && { object_store: objectStore }),
    },
  };
}

/** Whether a worker can take work. Without Redis it claims from Postgres, and without the object store only large values wait. */
export function canWork({ status, pg_connected }: Health): boolean {
  return status !== "draining" && pg_connected;
}
