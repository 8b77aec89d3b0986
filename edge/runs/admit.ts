import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import { queueShardOf } from "../../shared/keys.ts";
import type { QueueVerdict } from "../../shared/queue/verdict.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { ensureTenant, limitsOf } from "../../shared/store/tenants/tenants.ts";
import type { Config } from "../env.ts";
import type { EdgeQueue } from "../clients/redis.ts";

/** Runs a question on a connection to Postgres. */
export type RunQuery = <Answer>(question: (sql: Sql) => Promise<Answer>) => Promise<Answer>;

export type Stores = { config: Config; queue: EdgeQueue; query: RunQuery };
export type Applicant = { run_id: RunId; tenant_id: TenantId };

/** Why a run is not let in. Retry-After is exact where the queue knows it, else a fair guess. */
export type Refusal = { ok: false; code: ErrorCode; detail: string; retryAfterSeconds?: number };

/**
 * The answer to a run that asks to be let in. `counted: "by_queue"`: the queue has counted it. `"here"`: whoever
 * commits the run has to count (docs/protocol.md 11), as the queue could not be asked, or does not know of all that
 * were let in without it. `full`: a no for want of room, which a request that was accepted before does not have to hear.
 * `kept`: whether the queue keeps a place for it, for 30 s.
 */
export type Place = { kept: boolean } & (
  | { ok: true; counted: "by_queue" | "here" }
  | (Refusal & { full: boolean })
);

type Answer = QueueVerdict | { ok: false; reason: "away" };

/** Asks the queue for a place for each run. It is told the limits of tenants that it does not know, and asked once more. */
export async function admit(stores: Stores, runs: readonly Applicant[]): Promise<Map<RunId, Place>> {
  const answers = await askQueue(stores, runs);
  const unknown = runs.filter(({ run_id }) => reasonOf(answers.get(run_id)) === "unknown");
  if (unknown.length > 0) {
    await pushLimits(stores, new Set(unknown.map((run) => run.tenant_id)));
    for (const [run, answer] of await askQueue(stores, unknown)) answers.set(run, answer);
  }
  return new Map(runs.map((run) => [run.run_id, placeOf(stores.config, run, answers.get(run.run_id))]));
}

async function askQueue({ config, queue }: Stores, runs: readonly Applicant[]): Promise<Map<RunId, Answer>> {
  const depth = Math.ceil(config.MAX_GLOBAL_QUEUE_DEPTH / queue.shards);
  const byShard = Map.groupBy(runs, (run) => queueShardOf(run.tenant_id, queue.shards));
  const answers = new Map<RunId, Answer>();
  await Promise.all(
    Array.from(byShard.values(), async (group) => {
      const asked = group.map((run) => ({ run: run.run_id, tenant: run.tenant_id }));
      const said = await orAway(queue.admit(asked, depth));
      for (const [i, { run }] of asked.entries())
        answers.set(run, said?.[i] ?? { ok: false, reason: "away" });
    }),
  );
  return answers;
}

/** What the queue answers; null when it does not. */
async function orAway<Reply>(reply: Promise<Reply>): Promise<Reply | null> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof AppError && error.code === "redis_away") return null;
    throw error;
  }
}

/** What the queue is not told now it asks for again. */
async function pushLimits(
  { config, queue, query: ask }: Stores,
  tenants: ReadonlySet<TenantId>,
): Promise<void> {
  const rows = await ask((sql) =>
    Promise.all(Array.from(tenants, (tenant) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS))),
  );
  await orAway(queue.pushLimits(rows.map((row) => limitsOf(row, config.ENABLE_TENANT_ISOLATION))));
}

function reasonOf(answer: Answer | undefined): string | null {
  return answer === undefined || answer.ok ? null : answer.reason;
}

function placeOf(config: Config, { tenant_id }: Applicant, answer: Answer | undefined): Place {
  if (!answer) throw new Error("the queue left a run out of its answer");
  const here = config.ENABLE_TENANT_ISOLATION ? "here" : "by_queue";
  if (answer.ok) return { ok: true, counted: "by_queue", kept: true };
  const kept = answer.reason === "rebuilding";
  const no = (code: ErrorCode, retryAfterSeconds: number, detail: string, full = false): Place => ({
    ok: false,
    code,
    detail,
    retryAfterSeconds,
    full,
    kept,
  });
  const orDatabase = (refused: Place): Place =>
    config.ACCEPT_WHEN_REDIS_DOWN ? { ok: true, counted: here, kept } : refused;
  switch (answer.reason) {
    case "rate": {
      const seconds = Math.max(1, Math.ceil(answer.retryMs / 1000));
      return no("rate_limited", seconds, `Tenant ${tenant_id} sends more requests a second than it may.`);
    }
    case "queued":
      return no("queue_full", 5, queueFull(tenant_id, answer.limit), true);
    case "disabled":
      return no("tenant_disabled", 60, disabled(tenant_id));
    case "depth":
      return no("capacity", 10, "The system has as many runs queued as it can take.", true);
    case "cold":
    case "rebuilding":
      return orDatabase(no("rebuilding", 3, "The queue is being rebuilt; try again in a moment."));
    case "away":
      return orDatabase(no("redis_away", 2, "The queue cannot be reached; try again in a moment."));
    case "unknown":
      return orDatabase(
        no("redis_away", 2, "The queue lost the limits of this tenant; try again in a moment."),
      );
  }
}

/** The no of a database that has counted itself: the tenant's queue is full, or it takes no runs. */
export async function refusedByDatabase({ config, query: ask }: Stores, tenant: TenantId): Promise<Refusal> {
  const row = await ask((sql) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS));
  return row.max_concurrent_runs === 0
    ? { ok: false, code: "tenant_disabled", detail: disabled(tenant), retryAfterSeconds: 60 }
    : { ok: false, code: "queue_full", detail: queueFull(tenant, row.max_queued_runs), retryAfterSeconds: 5 };
}

function queueFull(tenant: TenantId, limit: number): string {
  return `Tenant ${tenant} has ${limit} runs queued, which is its limit.`;
}

function disabled(tenant: TenantId): string {
  return `Tenant ${tenant} may not start runs.`;
}
