import type { NewRun } from "../../shared/contracts/run.ts";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import { readOrchestration } from "../../shared/store/definitions/definitions.ts";
import { acceptRuns, findIdempotent } from "../../shared/store/runs/runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { ensureTenant } from "../../shared/store/tenants/tenants.ts";
import { admit, refusedByDatabase } from "./admit.ts";
import type { Place, Refusal, Stores } from "./admit.ts";

/** What becomes of a request to run. `replayed`: the run was accepted before, under the same Idempotency-Key. */
export type Outcome = { ok: true; run_id: RunId; replayed: boolean } | Refusal;

/** `finishing` is what comes after the answer: jobs to the queue, places given back. Nothing depends on it. */
export type Accepted = { outcomes: Outcome[]; finishing(): Promise<void> };

/** So long after a queue could not be told it is told once more; then it is left to the reconciler. */
const TELL_AGAIN_MS = 3_000;

type Committed = Awaited<ReturnType<typeof acceptRuns>>;

/**
 * Accepts runs, in this order (docs/protocol.md 5.1): the queue reserves a place for each or says no, one statement
 * commits all that have one, and the queue hears of them after the commit: a worker may claim the instant it does.
 * A queue that cannot be asked is done without: the database counts then, and the reconciler shows the runs to the
 * queue when it is back, if it cannot be told here.
 *
 * @throws the driver's error when Postgres is away; the places are kept then, as nobody knows whether the runs exist.
 */
export async function accept(stores: Stores, runs: readonly NewRun[]): Promise<Accepted> {
  const places = await admit(stores, runs);
  // A statement may carry a key once: who comes second with the same key is told what became of the first.
  const first = firstOfEachKey(runs.filter((run) => places.get(run.run_id)?.ok));
  const counted = (how: "by_queue" | "here") => (run: NewRun) => isCounted(places.get(run.run_id), how);
  const byQueue = first.filter(counted("by_queue"));
  const committed = new Map([
    ...(byQueue.length > 0 ? await stores.query((sql) => acceptRuns(sql, byQueue)) : []),
    ...(await acceptCounting(stores, first.filter(counted("here")), places)),
  ]);
  const outcomes = await Promise.all(runs.map((run) => outcomeOf(stores, run, places, committed)));
  const left = runs.filter((run) => places.get(run.run_id)?.kept && !committed.has(run.run_id));
  return { outcomes, finishing: () => tellQueue(stores, runs, committed, left) };
}

function isCounted(place: Place | undefined, how: "by_queue" | "here"): boolean {
  return place?.ok === true && place.counted === how;
}

/** Commits runs that have to be counted here: as many as their tenants' queues have room for. */
async function acceptCounting(
  stores: Stores,
  runs: readonly NewRun[],
  places: ReadonlyMap<RunId, Place>,
): Promise<Committed> {
  if (runs.length === 0) return new Map();
  const { config, queue, query: ask } = stores;
  // A tenant that there is not has no room.
  for (const tenant of new Set<TenantId>(runs.map((run) => run.tenant_id))) {
    await ask((sql) => ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS));
  }
  queue.missed(runs.filter((run) => !places.get(run.run_id)?.kept).map((run) => run.tenant_id));
  return ask((sql) => acceptRuns(sql, runs, "here"));
}

async function outcomeOf(
  stores: Stores,
  run: NewRun,
  places: ReadonlyMap<RunId, Place>,
  committed: Committed,
): Promise<Outcome> {
  if (committed.has(run.run_id)) return { ok: true, run_id: run.run_id, replayed: false };
  const place = places.get(run.run_id);
  if (!place) throw new Error(`no place and no refusal for ${run.run_id}`);
  // A client that repeats an accepted request gets its answer even when there is no room for another run.
  const earlier = place.ok || place.full ? await stores.query((sql) => replay(sql, run)) : null;
  if (earlier) return earlier;
  if (!place.ok) return refusalOf(place);
  const isUnknown =
    place.counted === "by_queue" ||
    (await stores.query((sql) => readOrchestration(sql, run.tenant_id, run.orchestration_id))) === null;
  return isUnknown ? unknownDefinition(run) : refusedByDatabase(stores, run.tenant_id);
}

function refusalOf({
  full: _full,
  kept: _kept,
  ...refusal
}: Refusal & { full: boolean; kept: boolean }): Refusal {
  return refusal;
}

/** What was committed becomes ready; the places of the others are given back. A queue that was away may be back soon. */
async function tellQueue(
  { queue }: Stores,
  runs: readonly NewRun[],
  committed: Committed,
  left: readonly NewRun[],
): Promise<void> {
  const jobs = runs.flatMap((run) => {
    const row = committed.get(run.run_id);
    return row ? [jobOf(run, row.queued_at_ms)] : [];
  });
  const names = left.map((run) => ({ run: run.run_id, tenant: run.tenant_id }));
  const tell = () => Promise.all([queue.enqueue(jobs), queue.finish(names, "")]);
  try {
    await tell();
  } catch {
    await sleep(TELL_AGAIN_MS);
    await tell();
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
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

function unknownDefinition(run: NewRun): Refusal {
  return { ok: false, code: "not_found", detail: `There is no orchestration ${run.orchestration_id}.` };
}
