import { answerErrors } from "../shared/contracts/definition/human.ts";
import type { RunId } from "../shared/contracts/ids.ts";
import type { JsonObject } from "../shared/contracts/json.ts";
import { TERMINAL } from "../shared/contracts/run.ts";
import type { Principal } from "../shared/contracts/tenant.ts";
import { AppError } from "../shared/errors.ts";
import { scoreOf } from "../shared/queue/queue.ts";
import { answerWait, openQuestions } from "../shared/store/waits.ts";
import type { AnswerOutcome, Question } from "../shared/store/waits.ts";
import { log } from "./log.ts";
import { findRun, noRun } from "./run-view.ts";
import type { Services } from "./services.ts";

/**
 * Answers the question that a run has asked a person: PROTOCOL.md 5.6. It is never refused for want of room, and the
 * run goes on as soon as a worker is free.
 * @param stepId the step that has asked; null: there is only one
 * @throws AppError `not_found`; `run_finished`, `not_waiting` or `conflict` (somebody else was first); `invalid` for an
 *   answer that the form does not take
 */
export async function answer(
  { sql, queue, after }: Services,
  principal: Principal,
  runId: RunId,
  stepId: string | null,
  response: JsonObject,
): Promise<void> {
  const run = await findRun(sql, principal, runId);
  if (TERMINAL.has(run.status)) throw finished(run.status);
  const question = questionOf(await openQuestions(sql, runId), stepId);
  const fields = answerErrors(question.fields, response);
  if (fields.length > 0) {
    const detail = `Not valid: ${fields.map(({ path, message }) => `${path} ${message}`).join("; ")}.`;
    throw new AppError("invalid", detail, { fields });
  }
  const { wait_id } = question;
  const text = JSON.stringify(response);
  const outcome = await answerWait(sql, principal.tenant, runId, wait_id, text, principal.key_id);
  if (outcome.is !== "answered") throw notAnswered(outcome);
  const { tenant_id, lane, priority, queued_at_ms, status } = outcome.run;
  // A run whose worker is just about to let it go finds the answer itself: its park is refused.
  if (status !== "queued") return;
  const job = {
    run: runId,
    tenant: tenant_id,
    lane,
    score: scoreOf(queued_at_ms, priority),
    status,
    delayMs: 0,
  };
  // After the commit; what the queue was not told now, the reconciler tells it.
  after(queue.enqueue([job]).catch(logUntold));
}

/** @throws AppError `not_waiting` */
function questionOf(open: readonly Question[], stepId: string | null): Question {
  const asked = stepId === null ? open : open.filter(({ step_id }) => step_id === stepId);
  const [question, second] = asked;
  if (!question) {
    const what = stepId === null ? "asks nobody anything" : `has no question of step ${stepId} open`;
    throw new AppError("not_waiting", `The run ${what} at this moment.`);
  }
  if (second) {
    const steps = asked.map(({ step_id }) => step_id).join(", ");
    throw new AppError("not_waiting", `Several steps ask: name one as step_id (${steps}).`);
  }
  return question;
}

function finished(status: string): AppError {
  return new AppError("run_finished", `The run is ${status}; nobody waits for an answer any more.`);
}

function notAnswered(outcome: Exclude<AnswerOutcome, { is: "answered" }>): AppError {
  switch (outcome.is) {
    case "taken":
      return new AppError("conflict", "The question was answered, or its time was over, at the same moment.");
    case "ended":
      return finished("over");
    case "unknown":
      return noRun();
  }
}

function logUntold(error: unknown): void {
  log.info("answer.not_told", { error: error instanceof Error ? error.message : "unknown" });
}
