import { answerErrors } from "../../shared/contracts/definition/human.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { answerWait, readAnswerRefusal } from "../../shared/store/runs/answer-wait.ts";
import type { AnswerRefusal } from "../../shared/store/runs/answer-wait.ts";
import { isQuestion, listOpenWaits } from "../../shared/store/runs/open-waits.ts";
import type { Question } from "../../shared/store/runs/open-waits.ts";
import type { Services } from "../services.ts";
import { findRun } from "./run-view.ts";

/** The question that a request answers: by id, by step, or (both null) the only open question of the run. */
export type QuestionRef = { questionId: string | null; stepId: string | null };

export type Answer = { runId: RunId; to: QuestionRef; response: JsonObject };

/**
 * Answers a question that a run has asked a person: docs/protocol.md 5.6. An answer is accepted also while the tenant's
 * queue is full, and the run continues as soon as a worker is free.
 *
 * An answer that names its question is accepted once; the same answer by the same key then succeeds again, so a client
 * that did not get the response may repeat the request. An answer without a name goes to the question that is open when
 * it arrives.
 * @returns `replayed`: this answer had been accepted before
 * @throws AppError `not_found`; `run_finished`, `not_waiting` or `conflict` (another answer was first); `several_questions`
 *   when several are open and the request names none of them; `invalid` for an answer that does not fit the form
 */
export async function answer(
  { sql, queue, waitUntil }: Services,
  principal: Principal,
  { runId, to, response }: Answer,
): Promise<{ replayed: boolean }> {
  const run = await findRun(sql, principal, runId);
  const question = await findQuestion(sql, run, to);
  if ("wait_id" in question) requireFit(question, response);
  const text = JSON.stringify(response);
  const outcome =
    "wait_id" in question
      ? await answerWait(sql, {
          tenant: principal.tenant,
          run: runId,
          waitId: question.wait_id,
          answer: text,
          by: principal.key_id,
        })
      : question;
  if (outcome.is !== "answered") {
    if (isSameAnswer(outcome, to, principal.key_id, text)) return { replayed: true };
    throw notAnswered(outcome);
  }
  const { status } = outcome.run;
  // A run that is still running is about to park: its park is refused, and its worker finds the answer.
  if (status === "queued") {
    const job = { ...jobOf(outcome.run), status, delayMs: 0 };
    // After the commit. If this enqueue fails, the reconciler enqueues the job.
    waitUntil(queue.enqueue([job]).catch(logNotEnqueued));
  }
  return { replayed: false };
}

/** The open question that a request means, or why the named question is not open. `answer` answers no other wait. */
async function findQuestion(sql: Sql, run: RunRow, to: QuestionRef): Promise<Question | AnswerRefusal> {
  // Two tries: the question may be opened between the read of the open questions and the read of the reason.
  for (let tries = 0; tries < 2; tries++) {
    const question = choose((await listOpenWaits(sql, run.run_id)).filter(isQuestion), to, run);
    if (question) return question;
    const why = await readAnswerRefusal(sql, null, run.run_id, to.questionId ?? "");
    if (why) return why;
  }
  return { is: "unknown" };
}

/** The open question that a request means; null: the request names a question that is not open. */
function choose(
  questions: readonly Question[],
  { questionId, stepId }: QuestionRef,
  run: RunRow,
): Question | null {
  if (questionId !== null) return questions.find(({ wait_id }) => wait_id === questionId) ?? null;
  if (TERMINAL.has(run.status)) throw finished(run);
  const candidates = stepId === null ? questions : questions.filter(({ step_id }) => step_id === stepId);
  const [question, second] = candidates;
  if (!question) {
    const ofStep = stepId === null ? "" : ` of step ${stepId}`;
    throw new AppError("not_waiting", `The run has no open question${ofStep} at this moment.`);
  }
  if (second) {
    const ids = candidates.map(({ wait_id }) => wait_id).join(", ");
    const message = `must name one of the questions that are open: ${ids}`;
    throw new AppError("several_questions", `Several questions are open: question_id ${message}.`, {
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

/** Whether the accepted answer is this one: the same text by the same key to a question that the request names. */
function isSameAnswer(
  outcome: AnswerRefusal,
  { questionId }: QuestionRef,
  by: string,
  text: string,
): boolean {
  return questionId !== null && outcome.is === "taken" && outcome.by === by && outcome.answer === text;
}

function finished({ status }: Pick<RunRow, "status">): AppError {
  return new AppError("run_finished", `The run is ${status}; it takes no more answers.`);
}

function notAnswered(outcome: AnswerRefusal): AppError {
  switch (outcome.is) {
    case "taken":
      return new AppError("conflict", "The question already has an answer, or it has expired.");
    case "ended":
      return new AppError("run_finished", "The run has ended; it takes no more answers.");
    case "unknown":
      return new AppError("not_waiting", "The run has no such question.");
  }
}

/** The answer is committed and the run is queued: the reconciler enqueues its job. */
function logNotEnqueued(error: unknown): void {
  log.info("answer.not_enqueued", { error: messageOf(error) });
}
