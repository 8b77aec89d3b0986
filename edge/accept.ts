import type { NewRun } from "../shared/contracts/run.ts";
import type { RunId, TenantId } from "../shared/contracts/ids.ts";
import type { ErrorCode } from "../shared/errors.ts";
import { queueShardOf } from "../shared/keys.ts";
import { scoreOf } from "../shared/queue/queue.ts";
import type { Admission, Queue } from "../shared/queue/queue.ts";
import { acceptRuns, findIdempotent } from "../shared/store/runs.ts";
import type { Sql } from "../shared/store/sql.ts";
import { ensureTenant, limitsOf } from "../shared/store/tenants.ts";
import type { Config } from "./env.ts";

/** What becomes of a request to run. `replayed`: the run was accepted before, under the same Idempotency-Key. */
export type Outcome =
  | { ok: true; run_id: RunId; replayed: boolean }
  | { ok: false; code: ErrorCode; detail: string; retryAfterSeconds?: number };

type Stores = { config: Config; queue: Queue; sql: Sql };

/** `finishing` is what comes after the answer: jobs to the queue, places given back. Nothing depends on it. */
export type Accepted = { outcomes: Outcome[]; finishing(): Promise<void> };

/**
 * Accepts runs, in this order (PROTOCOL.md 5.1): the queue reserves a place for each or says no, one statement
 * commits all that have one, and the queue hears of them after the commit: a worker may claim the instant it does.
 *
 * @throws AppError `redis_away`, or the driver's error when Postgres is away; the places are kept then, as nobody
 * knows whether the runs exist.
 */
export async function accept(stores: Stores, runs: readonly NewRun[]): Promise<Accepted> {
  const admissions = await admit(stores, runs);
  const admitted = runs.filter((run) => admissions.get(run.run_id)?.ok);
  // A statement may carry a key once: who comes second with the same key is told what became of the first.
  const first = firstOfEachKey(admitted);
  const committed = first.length > 0 ? await acceptRuns(stores.sql, first) : new Map<RunId, never>();

  const outcomes = await Promise.all(
    runs.map(async (run): Promise<Outcome> => {
      if (committed.has(run.run_id)) return { ok: true, run_id: run.run_id, replayed: false };
      const admission = admissions.get(run.run_id);
      if (admission?.ok) return (await replay(stores.sql, run)) ?? unknownDefinition(run);
      if (!admission) throw new Error(`no admission for ${run.run_id}`);
      // A client that repeats an accepted request gets its answer even when there is no room for another run.
      const noRoom = admission.reason === "queued" || admission.reason === "depth";
      const earlier = noRoom ? await replay(stores.sql, run) : null;
      return earlier ?? refusal(admission, run.tenant_id);
    }),
  );

  return {
    outcomes,
    async finishing() {
      const jobs = first.flatMap((run) => {
        const row = committed.get(run.run_id);
        return row ? [jobOf(run, row.queued_at_ms)] : [];
      });
      const left = admitted.filter((run) => !committed.has(run.run_id));
      await Promise.all([
        stores.queue.enqueue(jobs),
        stores.queue.finish(
          left.map((run) => ({ run: run.run_id, tenant: run.tenant_id })),
          "",
        ),
      ]);
    },
  };
}

function jobOf(run: NewRun, queuedAtMs: number) {
  return {
    run: run.run_id,
    tenant: run.tenant_id,
    lane: run.lane,
    score: scoreOf(queuedAtMs, run.priority),
    status: "queued" as const,
    delayMs: run.delay_ms,
  };
}

/** Asks the queue for places. It is told the limits of tenants that it does not know, and asked once more. */
async function admit(stores: Stores, runs: readonly NewRun[]): Promise<Map<RunId, Admission>> {
  const admissions = await askQueue(stores, runs);
  const unknown = runs.filter((run) => isUnknown(admissions.get(run.run_id)));
  if (unknown.length === 0) return admissions;
  await pushLimits(stores, new Set(unknown.map((run) => run.tenant_id)));
  return new Map([...admissions, ...(await askQueue(stores, unknown))]);
}

async function askQueue({ config, queue }: Stores, runs: readonly NewRun[]): Promise<Map<RunId, Admission>> {
  const depth = Math.ceil(config.MAX_GLOBAL_QUEUE_DEPTH / queue.shards);
  const byShard = Map.groupBy(runs, (run) => queueShardOf(run.tenant_id, queue.shards));
  const answers = await Promise.all(
    Array.from(byShard.values(), async (group) => {
      const asked = group.map((run) => ({ run: run.run_id, tenant: run.tenant_id }));
      const said = await queue.admit(asked, depth);
      return said.map((admission, i): [RunId | undefined, Admission] => [asked[i]?.run, admission]);
    }),
  );
  const admissions = new Map<RunId, Admission>();
  for (const [run, admission] of answers.flat()) if (run) admissions.set(run, admission);
  return admissions;
}

function isUnknown(admission: Admission | undefined): boolean {
  return admission !== undefined && !admission.ok && admission.reason === "unknown";
}

async function pushLimits({ config, queue, sql }: Stores, tenants: ReadonlySet<TenantId>): Promise<void> {
  const rows = await Promise.all(
    Array.from(tenants, (tenant) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS)),
  );
  await queue.pushLimits(rows.map((row) => limitsOf(row, config.ENABLE_TENANT_ISOLATION)));
}

function firstOfEachKey(runs: readonly NewRun[]): NewRun[] {
  const seen = new Set<string>();
  return runs.filter((run) => {
    if (run.idempotency_key === null) return true;
    const key = `${run.tenant_id}\0${run.idempotency_key}`;
    return !seen.has(key) && seen.add(key);
  });
}

/** The answer that the run's key has had already, if any. */
async function replay(sql: Sql, run: NewRun): Promise<Outcome | null> {
  if (run.idempotency_key === null) return null;
  const earlier = await findIdempotent(sql, run.tenant_id, run.idempotency_key);
  if (!earlier) return null;
  if (earlier.request_hash === run.request_hash) return { ok: true, run_id: earlier.run_id, replayed: true };
  const detail = "This Idempotency-Key was used with another request; use a new one for a new request.";
  return { ok: false, code: "idempotency_conflict", detail };
}

function unknownDefinition(run: NewRun): Outcome {
  return { ok: false, code: "not_found", detail: `There is no orchestration ${run.orchestration_id}.` };
}

/** A no of the queue, as the client is told. Retry-After is exact where the queue knows it, else a fair guess. */
export function refusal(admission: Exclude<Admission, { ok: true }>, tenant: TenantId): Outcome {
  const no = (code: ErrorCode, retryAfterSeconds: number, detail: string): Outcome => ({
    ok: false,
    code,
    detail,
    retryAfterSeconds,
  });
  switch (admission.reason) {
    case "rate": {
      const seconds = Math.max(1, Math.ceil(admission.retryMs / 1000));
      return no("rate_limited", seconds, `Tenant ${tenant} sends more requests a second than it may.`);
    }
    case "queued":
      return no("queue_full", 5, `Tenant ${tenant} has ${admission.limit} runs queued, which is its limit.`);
    case "disabled":
      return no("tenant_disabled", 60, `Tenant ${tenant} may not start runs.`);
    case "depth":
      return no("capacity", 10, "The system has as many runs queued as it can take.");
    case "cold":
    case "rebuilding":
      return no("rebuilding", 3, "The queue is being rebuilt; try again in a moment.");
    case "unknown":
      return no("redis_away", 2, "The queue lost the limits of this tenant; try again in a moment.");
  }
}
