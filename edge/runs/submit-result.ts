import type { RunId } from "../../shared/contracts/ids.ts";
import type { NewRun, NewTurn, Refusal, SubmitResult } from "../../shared/contracts/run.ts";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import { whyNotTaken } from "../../shared/store/chat/accept-turns.ts";
import { readOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { findIdempotent } from "../../shared/store/runs/accept-runs.ts";
import type { IdempotentAnswer, QuotaCheckedBy } from "../../shared/store/runs/accept-runs.ts";
import {
  findSingletonHolder,
  freeSkippedKey,
  saveSkippedAnswer,
} from "../../shared/store/runs/singletons.ts";
import { isDataError } from "../../shared/store/unreachable.ts";
import { toAppError } from "../http/problem.ts";
import { refusedByPostgres } from "./admit.ts";
import type { AdmitDeps, Admission } from "./admit.ts";
import type { Admissions, CommitOutcome } from "./commit-admitted.ts";

export type ResultDeps = AdmitDeps & {
  /** Submits a run again, whose key became free after its statement. */
  resubmit(run: NewRun): Promise<SubmitResult>;
};

/**
 * The result of one run of a batch after its commit. A run that was not committed gets the result of the run that has its key, or
 * the reason.
 * @throws the error of a look-up, before anything about the run has changed
 */
export async function submitResultOf(
  deps: ResultDeps,
  run: NewRun,
  { admissions, accepted, failed }: CommitOutcome & { admissions: Admissions },
): Promise<SubmitResult> {
  const row = accepted.get(run.run_id);
  if (row) {
    const admission = admissions.get(run.run_id);
    const quota = admission?.is === "admitted" ? admission.quota : undefined;
    const waits = run.turn !== undefined && row.delay_ms > 0;
    return { ...acceptedAs(run.run_id, { waits }), ...(quota && { quota }) };
  }
  const error = failed.get(run.run_id);
  if (error !== undefined) return failedBy(run, error);
  const admission = admissions.get(run.run_id);
  if (!admission) throw new Error(`no admission for ${run.run_id}`);
  if (admission.is === "refused") return { is: "refused", ...admission.refusal };
  const earlier = await findEarlier(deps, run);
  if (earlier) return earlier;
  const hasRoom = admission.is === "admitted" && admission.quotaCheckedBy === "queue";
  const bySession = run.turn && (await turnRefusal(deps, run.turn, run.run_id, hasRoom));
  if (bySession) return { is: "refused", ...bySession };
  // Before the refusal of a full queue: a skipped run starts nothing, so it needs no place.
  const skipped = run.singleton?.policy === "skip" ? await skippedResult(deps, run, admission) : null;
  if (skipped) return skipped;
  if (admission.is === "full") return { is: "refused", ...admission.refusal };
  return { is: "refused", ...(await whyNotCommitted(deps, run, admission.quotaCheckedBy)) };
}

function acceptedAs(run_id: RunId, { replayed = false, skipped = false, waits = false } = {}): SubmitResult {
  return { is: "accepted", run_id, replayed, skipped, waits };
}

/**
 * The result of a run with the policy `skip` that was not committed: the run that has its singleton key. When that run has ended
 * meanwhile, the key is free, and an admitted run is submitted again. Null: the run was not skipped.
 */
async function skippedResult(
  deps: ResultDeps,
  run: NewRun,
  admission: Extract<Admission, { is: "admitted" | "full" }>,
): Promise<SubmitResult | null> {
  const { run_id, tenant_id, orchestration_id } = run;
  const definition = await deps.query((sql) => readOrchestration(sql, tenant_id, orchestration_id));
  if (definition === null) return null;
  const holder = await holderOf(deps, run);
  if (holder !== null) return answerSkipped(deps, run, run_id, holder);
  if (admission.is === "full" || admission.quotaCheckedBy === "postgres") return null;
  return submitSkippedAgain(deps, run);
}

function holderOf({ query }: ResultDeps, { tenant_id, singleton }: NewRun): Promise<RunId | null> {
  return query((sql) => findSingletonHolder(sql, tenant_id, singleton?.key ?? ""));
}

/** The result of a skipped run. Its Idempotency-Key names `skipped` until the answer is recorded. */
async function answerSkipped(
  { query }: ResultDeps,
  { tenant_id, idempotency_key: key, request_hash }: NewRun,
  skipped: RunId,
  answer: RunId,
): Promise<SubmitResult> {
  if (key !== null)
    await query((sql) => saveSkippedAnswer(sql, tenant_id, key, { run: skipped, request_hash, answer }));
  return acceptedAs(answer, { skipped: true });
}

async function submitSkippedAgain(deps: ResultDeps, run: NewRun): Promise<SubmitResult> {
  const { tenant_id, idempotency_key: key } = run;
  if (key !== null) await deps.query((sql) => freeSkippedKey(sql, tenant_id, key));
  return deps.resubmit(run);
}

/** The result that an earlier request got under the same Idempotency-Key; null: there was none. */
async function findEarlier(deps: ResultDeps, run: NewRun): Promise<SubmitResult | null> {
  const { run_id, tenant_id, idempotency_key: key, request_hash, singleton } = run;
  if (key === null) return null;
  const earlier = await deps.query((sql) => findIdempotent(sql, tenant_id, key));
  // Until the answer of a skipped run is recorded, its Idempotency-Key names the skipped run itself.
  if (!earlier || earlier.run_id === run_id) return null;
  if (singleton?.policy === "skip" && earlier.unanswered && earlier.request_hash === request_hash) {
    const holder = await holderOf(deps, run);
    return holder === null ? submitSkippedAgain(deps, run) : answerSkipped(deps, run, earlier.run_id, holder);
  }
  // The sender of a trigger's request knows the key as the id of its webhook.
  return replayOf(earlier, request_hash, run.triggered_by === "webhook" ? "webhook-id" : "Idempotency-Key");
}

/**
 * The result of a request whose key an earlier one has: the earlier result for the same request, a conflict for another one.
 * @param sent the name under which the client sends the key
 */
export function replayOf(
  earlier: IdempotentAnswer,
  request_hash: string | null,
  sent: "webhook-id" | "Idempotency-Key",
): SubmitResult {
  if (earlier.request_hash === request_hash)
    return acceptedAs(earlier.run_id, { replayed: true, skipped: earlier.skipped });
  const detail = `This ${sent} was used with another request; use a new one for a new request.`;
  return { is: "refused", code: "idempotency_conflict", detail };
}

/** Why the statement did not commit an admitted run: its definition does not exist, or Postgres counted no room for it. */
async function whyNotCommitted(
  deps: ResultDeps,
  run: NewRun,
  quotaCheckedBy: QuotaCheckedBy,
): Promise<Refusal> {
  const unknown: Refusal = {
    code: "not_found",
    detail: `There is no orchestration ${run.orchestration_id}.`,
  };
  if (quotaCheckedBy === "queue") return unknown;
  if (run.turn) return refusedByPostgres(deps, run.tenant_id);
  const { tenant_id, orchestration_id } = run;
  const definition = await deps.query((sql) => readOrchestration(sql, tenant_id, orchestration_id));
  return definition === null ? unknown : refusedByPostgres(deps, tenant_id);
}

/** Why a chat session refused a turn; null: the session was not the reason. */
async function turnRefusal(
  { query }: Pick<AdmitDeps, "query">,
  turn: NewTurn,
  run: RunId,
  hasRoom: boolean,
): Promise<Refusal | null> {
  const why = await query((sql) => whyNotTaken(sql, turn, run, hasRoom));
  if (why === null) return null;
  const refusals: Record<typeof why, Refusal> = {
    unknown: { code: "not_found", detail: "There is no such session." },
    busy: { code: "session_busy", detail: "A turn of this session has not ended, and on_busy is reject." },
    outrun: { code: "conflict", detail: "Other turns of the session were first; try again." },
  };
  return refusals[why];
}

/** The result of a run whose submission failed with `error`. Only for a run that is not known to be committed. */
export function failedBy(run: NewRun, error: unknown): SubmitResult {
  if (isDataError(error)) log.warn("submit.run_not_storable", { ...aboutRun(run), error: messageOf(error) });
  const { code, message, retryAfterSeconds } = toAppError(error);
  if (code === "internal") log.error("submit.failed", { ...aboutRun(run), error: stackOf(error) });
  return {
    is: "refused",
    code,
    detail: message,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  };
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
