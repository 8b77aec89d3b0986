import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { queuedState, quotaStates, requestsState, runsState } from "../../shared/contracts/quota.ts";
import type { QuotaState } from "../../shared/contracts/quota.ts";
import type { Refusal } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import { queueShardOf } from "../../shared/keys.ts";
import type { JobName } from "../../shared/queue/job.ts";
import { Queue } from "../../shared/queue/queue.ts";
import type { QueueVerdict } from "../../shared/queue/verdict.ts";
import { NO_LIMIT } from "../../shared/queue/limits.ts";
import { ColdError } from "../../shared/queue/scripts.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { ensureTenant } from "../../shared/store/tenants/tenant-rows.ts";
import { countMinuteStarts, limitsOf } from "../../shared/store/tenants/tenant-limits.ts";
import type { Config } from "../env.ts";
import { restCommands } from "../clients/redis.ts";
import { toAppError } from "../http/problem.ts";
import { tenantIsDeleted } from "../http/tenant-is-deleted.ts";
import { errorsOfDeleted } from "./deleted-tenants.ts";

/** The wait that a client of a full queue is told: an estimate, because a run may end at any time. */
const QUEUE_RETRY_SECONDS = 5;
/** The wait after a full minute that Postgres has counted: an estimate, because its count does not say when the oldest start leaves it. */
const MINUTE_RETRY_MS = 10_000;

export type AdmitDeps = {
  config: Config;
  queue: EdgeQueue;
  /** Lends a connection to Postgres to `run`. */
  query<Result>(run: (sql: Sql) => Promise<Result>): Promise<Result>;
};

export type NamedRun = { run_id: RunId; tenant_id: TenantId };

/**
 * Whether a run may be committed (docs/protocol.md 5.1).
 *
 * - `admitted`: it may. `quotaCheckedBy` names the store that checks the tenant's quota. `queue`: Redis has counted the run.
 *   `postgres`: the statement that commits the run has to count (docs/protocol.md 11), because Redis could not be reached or
 *   does not know all runs. With tenant isolation off there is no quota to check: then it is always `queue`.
 * - `full`: the tenant's queue, its minute or the system has no room. A request that was accepted before is still replayed.
 * - `refused`: it may not, for any other reason.
 *
 * `reserved`: the queue has a reservation for the run, which lapses after 30 s.
 */
export type Admission =
  | {
      is: "admitted";
      quotaCheckedBy: "queue" | "postgres";
      reserved: boolean;
      /** What the tenant has left; absent where the queue has not counted. */
      quota?: readonly QuotaState[];
    }
  | { is: "full"; refusal: Refusal; reserved: false }
  | { is: "refused"; refusal: Refusal; reserved: boolean };

/** The queue's verdict on a run; null: the queue could not be reached. */
type Verdict = QueueVerdict | null;

/**
 * Reserves a place in the queue for each run, or refuses the run. When the queue does not know the limits of a tenant, they are
 * read from Postgres and pushed to it, and the tenant's runs are tried once more. When the limits of a tenant cannot be read, the
 * runs of this tenant alone are refused.
 */
export async function admit(deps: AdmitDeps, runs: readonly NamedRun[]): Promise<Map<RunId, Admission>> {
  const verdicts = await verdictsOf(deps, runs);
  const unknown = runs.filter(({ run_id }) => isUnknownTenant(verdicts.get(run_id)));
  const readErrors = new Map<TenantId, unknown>();
  if (unknown.length > 0) {
    await pushLimits(deps, new Set(unknown.map((run) => run.tenant_id)), readErrors);
    const known = unknown.filter(({ tenant_id }) => !readErrors.has(tenant_id));
    for (const [run, verdict] of await verdictsOf(deps, known)) verdicts.set(run, verdict);
  }
  const stopped = runs.filter(({ run_id }) => isDisabled(verdicts.get(run_id)));
  const deleted = await errorsOfDeleted(deps, new Set(stopped.map(({ tenant_id }) => tenant_id)));
  return new Map(
    runs.map((run): [RunId, Admission] => {
      const error = readErrors.get(run.tenant_id) ?? deleted.get(run.tenant_id);
      const admission =
        error === undefined ? admissionOf(deps.config, run, verdicts.get(run.run_id)) : refusedBy(error);
      return [run.run_id, admission];
    }),
  );
}

function refusedBy(error: unknown): Admission {
  const { code, message, retryAfterSeconds } = toAppError(error);
  return { is: "refused", refusal: refusal(code, retryAfterSeconds, message), reserved: false };
}

function isDisabled(verdict: Verdict | undefined): boolean {
  return verdict?.ok === false && verdict.reason === "disabled";
}

/** Calls the queue once for each shard. */
async function verdictsOf(
  { config, queue }: AdmitDeps,
  runs: readonly NamedRun[],
): Promise<Map<RunId, Verdict>> {
  const maxDepth = Math.ceil(config.MAX_GLOBAL_QUEUE_DEPTH / queue.shards);
  const byShard = Map.groupBy(runs, (run) => queueShardOf(run.tenant_id, queue.shards));
  const verdicts = new Map<RunId, Verdict>();
  await Promise.all(
    Array.from(byShard.values(), async (group) => {
      const names = group.map((run) => ({ run: run.run_id, tenant: run.tenant_id }));
      const replies = await orUnreachable(queue.admit(names, maxDepth));
      for (const [i, { run }] of names.entries()) verdicts.set(run, replies?.[i] ?? null);
    }),
  );
  return verdicts;
}

/** The queue's reply; null when the queue could not be reached. */
async function orUnreachable<Reply>(reply: Promise<Reply>): Promise<Reply | null> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof AppError && error.code === "redis_away") return null;
    throw error;
  }
}

/**
 * Reads the limits of these tenants and pushes them to the queue. A push that is lost is made again: the tenant's next run is
 * `unknown` again.
 * @param readErrors gets the error of each tenant whose limits could not be read
 */
async function pushLimits(
  { config, queue, query }: AdmitDeps,
  tenants: ReadonlySet<TenantId>,
  readErrors: Map<TenantId, unknown>,
): Promise<void> {
  const rows = await Promise.all(
    Array.from(tenants, (tenant) =>
      query((sql) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS)).catch((error: unknown) => {
        readErrors.set(tenant, error);
      }),
    ),
  );
  const limits = rows.flatMap((row) => (row ? [limitsOf(row, config.ENABLE_TENANT_ISOLATION)] : []));
  await orUnreachable(queue.pushLimits(limits));
}

function isUnknownTenant(verdict: Verdict | undefined): boolean {
  return verdict?.ok === false && verdict.reason === "unknown";
}

function admissionOf(config: Config, { tenant_id }: NamedRun, verdict: Verdict | undefined): Admission {
  if (verdict === undefined) throw new Error("the queue returned no verdict on a run");
  if (verdict?.ok) {
    const quota = verdict.quota === null ? {} : { quota: quotaStates(verdict.quota) };
    return { is: "admitted", quotaCheckedBy: "queue", reserved: true, ...quota };
  }
  switch (verdict?.reason) {
    case "rate": {
      const detail = `Tenant ${tenant_id} sends more than ${verdict.limit} requests a second, which is its limit.`;
      const quota = requestsState(verdict.limit, 0, verdict.retryMs);
      return { is: "refused", refusal: refusalBy(quota, "rate_limited", detail), reserved: false };
    }
    case "minute":
      return { is: "full", refusal: minuteFull(tenant_id, verdict.limit, verdict.retryMs), reserved: false };
    case "queued":
      return { is: "full", refusal: queueFull(tenant_id, verdict.limit), reserved: false };
    case "disabled":
      return { is: "refused", refusal: disabled(tenant_id), reserved: false };
    case "depth": {
      const detail = "The system is at its capacity: as many runs are queued as it can take.";
      return { is: "full", refusal: refusal("capacity", 10, detail), reserved: false };
    }
    case "cold":
    case "rebuilding":
    case "unknown":
    case undefined:
      return uncounted(config, verdict?.reason ?? "unreachable");
  }
}

/** The admission of a run that the queue cannot count: Postgres checks the quota instead, unless ACCEPT_WHEN_REDIS_DOWN is 0. */
function uncounted(config: Config, why: "cold" | "rebuilding" | "unknown" | "unreachable"): Admission {
  const reserved = why === "rebuilding";
  if (config.ACCEPT_WHEN_REDIS_DOWN) {
    const quotaCheckedBy = config.ENABLE_TENANT_ISOLATION ? "postgres" : "queue";
    return { is: "admitted", quotaCheckedBy, reserved };
  }
  return { is: "refused", refusal: queueAway(why), reserved };
}

function queueAway(why: "cold" | "rebuilding" | "unknown" | "unreachable"): Refusal {
  switch (why) {
    case "cold":
    case "rebuilding":
      return refusal("rebuilding", 3, "The queue is being rebuilt; try again in a moment.");
    case "unknown":
      return refusal("redis_away", 2, "The queue lost the limits of this tenant; try again in a moment.");
    case "unreachable":
      return refusal("redis_away", 2, "The queue cannot be reached; try again in a moment.");
  }
}

/** The refusal of a run of this tenant that Postgres did not commit, when Postgres checked the quota. */
export async function refusedByPostgres({ config, query }: AdmitDeps, tenant: TenantId): Promise<Refusal> {
  const row = await query((sql) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS));
  if (row.deleting) return refusal("tenant_deleted", undefined, tenantIsDeleted().message);
  if (row.disabled || row.max_concurrent_runs === 0) return disabled(tenant);
  const { runs_per_minute: limit } = row;
  const isMinuteFull = limit < NO_LIMIT && (await query((sql) => countMinuteStarts(sql, tenant))) >= limit;
  return isMinuteFull ? minuteFull(tenant, limit, MINUTE_RETRY_MS) : queueFull(tenant, row.max_queued_runs);
}

function queueFull(tenant: TenantId, limit: number): Refusal {
  const detail = `Tenant ${tenant} has ${limit} runs queued, which is its limit.`;
  return refusalBy(queuedState(limit, 0, QUEUE_RETRY_SECONDS), "queue_full", detail);
}

function minuteFull(tenant: TenantId, limit: number, retryMs: number): Refusal {
  const detail = `Tenant ${tenant} has started ${limit} runs in the last minute, which is its limit.`;
  return refusalBy(runsState(limit, 0, retryMs), "rate_limited", detail);
}

function disabled(tenant: TenantId): Refusal {
  return refusal("tenant_disabled", 60, `Tenant ${tenant} may not start runs.`);
}

/** The refusal by a limit of the tenant. @param state the limit, with nothing left */
function refusalBy(state: QuotaState, code: ErrorCode, detail: string): Refusal {
  return { ...refusal(code, state.resetSeconds ?? 1, detail), quota: [state] };
}

/** `retryAfterSeconds` is exact where the queue knows the time, else an estimate. */
function refusal(code: ErrorCode, retryAfterSeconds: number | undefined, detail: string): Refusal {
  return { code, detail, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) };
}

const queues = new WeakMap<Config, EdgeQueue>();

/** The queue, one for all requests of an isolate: making the client takes a seventh of the time of a request. */
export function queueOf(config: Config): EdgeQueue {
  const known = queues.get(config);
  if (known) return known;
  const queue = new EdgeQueue(config);
  queues.set(config, queue);
  return queue;
}

/**
 * A lasting record of the queue shards whose counts hold; it outlives the queue object. The counts of a shard without a record are
 * not trusted.
 */
export type CountsRecord = {
  /** Does not wait: when the record is lost, the shard is counted once more, and nothing else happens. */
  set(shard: number): void;
  /** Resolves when the record is durably removed. */
  clear(shard: number): Promise<void>;
};

/**
 * A queue that remembers the shards on which runs were committed without a reservation. The counts of such a shard are too low, so
 * they are invalidated before its next `admit`. After that Postgres counts, until scans have enqueued all runs on the shard.
 */
export class EdgeQueue extends Queue {
  /** Shards whose counts are to be invalidated before they admit again. */
  readonly #miscounted = new Set<number>();
  readonly #record: CountsRecord | null;

  /** @param record null: nothing outlives this object */
  constructor(config: Config, record: CountsRecord | null = null, redis = restCommands(config)) {
    super(redis, config.QUEUE_SHARDS);
    this.#record = record;
  }

  /** Call it, and wait for it, before runs of these tenants are committed without a reservation. */
  async invalidateCountsOf(tenants: readonly TenantId[]): Promise<void> {
    for (const shard of new Set(tenants.map((tenant) => queueShardOf(tenant, this.shards)))) {
      this.#miscounted.add(shard);
      await this.#record?.clear(shard);
    }
  }

  /**
   * Call it in a new object: an earlier one may have committed runs without a reservation.
   * @param counted the shards with a record that their counts hold
   */
  invalidateAllCounts(counted: ReadonlySet<number>): void {
    for (let shard = 0; shard < this.shards; shard++) if (!counted.has(shard)) this.#miscounted.add(shard);
  }

  override async admit(requests: readonly JobName[], maxDepth: number): Promise<QueueVerdict[]> {
    for (const shard of new Set(requests.map(({ tenant }) => queueShardOf(tenant, this.shards)))) {
      if (!this.#miscounted.has(shard)) continue;
      // A cold shard has no counts to invalidate: it counts again when it has been rebuilt.
      await this.invalidateCounts(shard).catch((error: unknown) => {
        if (!(error instanceof ColdError)) throw error;
      });
      this.#miscounted.delete(shard);
      this.#record?.set(shard);
    }
    return super.admit(requests, maxDepth);
  }
}
