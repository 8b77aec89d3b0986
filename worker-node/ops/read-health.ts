import type { WorkerStatus } from "./worker-status.ts";

/** A store that does not answer a check within this time is down. */
const CHECK_TIMEOUT_MS = 2_000;

/** The body of `/health`. Each `*_connected` is the outcome of a request made for this response. */
export type Health = ReturnType<WorkerStatus["forHealth"]> & {
  status: "ok" | "degraded" | "draining";
  pg_connected: boolean;
  redis_connected: boolean;
  /** Null: no object store is configured. */
  s3_connected: boolean | null;
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
    isUp(checks.postgres),
    isUp(checks.redis),
    checks.objectStore && isUp(checks.objectStore),
  ]);
  const isHealthy = postgres && redis && objectStore !== false;
  return {
    status: status.isDraining ? "draining" : isHealthy ? "ok" : "degraded",
    ...status.forHealth(),
    pg_connected: postgres,
    redis_connected: redis,
    s3_connected: objectStore,
  };
}

/** Whether a worker can take work. Without Redis it claims from Postgres, and without the object store only large values wait. */
export function canWork({ status, pg_connected }: Health): boolean {
  return status !== "draining" && pg_connected;
}

async function isUp(check: () => Promise<unknown>): Promise<boolean> {
  const timeout = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error("no answer")), CHECK_TIMEOUT_MS).unref();
  });
  return Promise.race([check(), timeout]).then(
    () => true,
    () => false,
  );
}
