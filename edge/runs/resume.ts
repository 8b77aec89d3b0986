import { answerErrors } from "../../shared/contracts/definition/human.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import type { RunRow } from "../../shared/store/runs/runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { answerWait, openQuestions, whyNotOpen } from "../../shared/store/runs/waits.ts";
import type { Question, Unanswered } from "../../shared/store/runs/waits.ts";
import { log } from "../log.ts";
import { findRun } from "./run-view.ts";
import type { Services } from "../services.ts";

/** Which question is answered: by its name, by the step that asks it (null: there is only one), or the one that is open. */
export type Named = { questionId: string | null; stepId: string | null };

/**
 * Answers a question that a run has asked a person: docs/protocol.md 5.6. It is never refused for want of room, and the run
 * goes on as soon as a worker is free.
 *
 * The same answer by the same key to a question that is named is taken once, however often it comes: a client whose
 * reply was lost may ask again. Without the name an answer is to whatever is open when it arrives.
 * @returns whether it had been taken before
 * @throws AppError `not_found`; `run_finished`, `not_waiting` or `conflict` (somebody else was first); `invalid` for an
 *   answer that the form does not take
 */
export async function answer(
  { sql, queue, after }: Services,
  principal: Principal,
  runId: RunId,
  named: Named,
  response: JsonObject,
): Promise<{ replayed: boolean }> {
  const run = await findRun(sql, principal, runId);
  const question = await findQuestion(sql, run, named);
  if ("wait_id" in question) requireFit(question, response);
  const text = JSON.stringify(response);
  const outcome =
    "wait_id" in question
      ? await answerWait(sql, principal.tenant, runId, question.wait_id, text, principal.key_id)
      : question;
  if (outcome.is !== "answered") {
    if (isSame(outcome, named, principal.key_id, text)) return { replayed: true };
    throw notAnswered(outcome);
  }
  const { tenant_id, lane, priority, queued_at_ms, status } = outcome.run;
  // A run whose worker is just about to let it go finds the answer itself: its park is refused.
  if (status === "queued") {
    const score = scoreOf(queued_at_ms, priority);
    const job = { run: runId, tenant: tenant_id, lane, score, status, delayMs: 0 };
    // After the commit; what the queue was not told now, the reconciler tells it.
    after(queue.enqueue([job]).catch(logUntold));
  }
  return { replayed: false };
}

/** The open question that is meant, or why one that is named is not open. Only what was read here is ever answered. */
async function findQuestion(sql: Sql, run: RunRow, named: Named): Promise<Question | Unanswered> {
  // Twice: it may be asked between the look at all that are open and the look at why it is not.
  for (let tries = 0; tries < 2; tries++) {
    const question = choose(await openQuestions(sql, run.run_id), named, run);
    if (question) return question;
    const why = await whyNotOpen(sql, null, run.run_id, named.questionId ?? "");
    if (why) return why;
  }
  return { is: "unknown" };
}

/** The open question that is meant; null: it is named, and not open. */
function choose(open: readonly Question[], { questionId, stepId }: Named, run: RunRow): Question | null {
  if (questionId !== null) return open.find(({ wait_id }) => wait_id === questionId) ?? null;
  if (TERMINAL.has(run.status)) throw finished(run);
  const asked = stepId === null ? open : open.filter(({ step_id }) => step_id === stepId);
  const [question, second] = asked;
  if (!question) {
    const what = stepId === null ? "asks nobody anything" : `has no question of step ${stepId} open`;
    throw new AppError("not_waiting", `The run ${what} at this moment.`);
  }
  if (second) {
    const message = `must name one of the questions that are open: ${asked.map(({ wait_id }) => wait_id).join(", ")}`;
    throw new AppError("invalid", `Not valid: question_id ${message}.`, {
      fields: [{ path: "question_id", message }],
    });
  }
  return question;
}

function requireFit(question: Question, response: JsonObject): void {
  const fields = answerErrors(question.fields, response);
  if (fields.length === 0) return;
  const detail = `Not valid: ${fields.map(({ path, message }) => `${path} ${message}`).join("; ")}.`;
  throw new AppError("invalid", detail, { fields });
}

/** Is it the answer that was taken, once more? */
function isSame(outcome: Unanswered, { questionId }: Named, by: string, text: string): boolean {
  return questionId !== null && outcome.is === "taken" && outcome.by === by && outcome.answer === text;
}

function finished({ status }: Pick<RunRow, "status">): AppError {
  return new AppError("run_finished", `The run is ${status}; nobody waits for an answer any more.`);
}

function notAnswered(outcome: Unanswered): AppError {
  switch (outcome.is) {
    case "taken":
      return new AppError("conflict", "The question was answered by somebody else, or its time is over.");
    case "ended":
      return new AppError("run_finished", "The run has ended; nobody waits for an answer any more.");
    case "unknown":
      return new AppError("not_waiting", "The run has no such question.");
  }
}

function logUntold(error: unknown): void {
  log.info("answer.not_told", { error: error instanceof Error ? error.message : "unknown" });
}
