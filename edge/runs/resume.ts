import { utf8 } from "../../shared/text/bytes.ts";
import { Decision, MAX_VOTE_BYTES } from "../../shared/contracts/approval.ts";
import { answerErrors, withDefaults } from "../../shared/contracts/definition/human.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import { log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { FoundRun, RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { answerWait, readAnswerRefusal } from "../../shared/store/runs/answer-wait.ts";
import type { AnswerRefusal } from "../../shared/store/runs/answer-wait.ts";
import { isQuestion, listOpenWaits } from "../../shared/store/runs/open-waits.ts";
import type { Question, WaitFilter } from "../../shared/store/runs/open-waits.ts";
import { CLOSED_BY } from "../../shared/store/runs/waits.ts";
import type { Services } from "../services.ts";
import { sortedKeys } from "./request-fingerprint.ts";
import { findRun } from "./run-view.ts";

/**
 * `to`: the question that the request answers, by id, by step, or, when both are null, the only open question of the run. `person`: the
 * person who answers, as the client names them; null: the client names none.
 */
export type Answer = { runId: RunId; to: WaitFilter; response: JsonObject; person: string | null };

/**
 * Answers a question that a run has asked a person: docs/protocol.md 5.6. An answer is accepted also while the tenant's
 * queue is full, and the run continues as soon as a worker is free.
 *
 * An answer that names its question is stored once. The same answer by the same key succeeds again, so a client that did
 * not get the response may repeat the request. An answer that names no question goes to the question that is open when the
 * request arrives.
 * @returns `replayed`: this answer had been accepted before. `waits`: the question stays open for more approvals
 * @throws AppError `not_found`; `run_finished`, `not_waiting` or `conflict` (another answer was first, or this person has
 *   answered); `several_questions` when several are open and the request names none of them; `invalid` for an answer that
 *   does not fit the form, or of a person who may not answer
 */
export async function answer(
  { sql, queue, waitUntil }: Services,
  principal: Principal,
  { runId, to, response, person }: Answer,
): Promise<{ replayed: boolean; waits: boolean }> {
  const run = await findRun(sql, principal, runId);
  const question = await findQuestion(sql, run, to, person);
  const source = { by: principal.key_id, person };
  const filled = withDefaults("fields" in question ? question.fields : [], response);
  const answered = { ...source, answer: JSON.stringify(filled) };
  if (!("wait_id" in question)) return replayOf(question, to, answered);
  const decision = requireFit(question, { sent: response, filled }, person);
  const outcome = await answerWait(sql, {
    ...answered,
    tenant: principal.tenant,
    run: runId,
    waitId: question.wait_id,
    decision,
  });
  if (outcome.is === "voted") return { replayed: false, waits: true };
  if (outcome.is !== "answered") return replayOf(outcome, to, answered);
  const { status } = outcome.run;
  // A run that is still running is about to park. Its park will be refused, and its worker then finds the answer.
  if (status === "queued") {
    const job = { ...jobOf(outcome.run), status, delayMs: 0 };
    // After the commit. If this enqueue fails, the reconciler enqueues the job.
    waitUntil(queue.enqueue([job]).catch(logNotEnqueued));
  }
  return { replayed: false, waits: false };
}

/** The open question that a request names, or why it is not open. */
async function findQuestion(
  sql: Sql,
  run: FoundRun,
  to: WaitFilter,
  person: string | null,
): Promise<Question | AnswerRefusal> {
  // Two tries: the question may be opened between the read of the open questions and the read of the reason.
  for (let tries = 0; tries < 2; tries++) {
    const question = chooseQuestion((await listOpenWaits(sql, run.run_id, to)).filter(isQuestion), to, run);
    if (question) return question;
    const named = { tenant: null, run: run.run_id, waitId: to.questionId ?? "", person };
    const why = await readAnswerRefusal(sql, named);
    if (why) return why;
  }
  return { is: "unknown" };
}

/**
 * The open question that a request names; null: it names a question that is not open.
 * @param questions the open questions that its `questionId` or `stepId` selects; all of them when both are null
 * @throws AppError `run_finished`, `not_waiting`, `several_questions` for a request without a `questionId`
 */
function chooseQuestion(
  questions: readonly Question[],
  { questionId, stepId }: WaitFilter,
  run: FoundRun,
): Question | null {
  const [question, second] = questions;
  if (questionId !== null) return question ?? null;
  if (TERMINAL.has(run.status)) throw finished(run);
  if (!question) {
    const ofStep = stepId === null ? "" : ` of step ${stepId}`;
    const ofChild = run.has_children
      ? " What its child runs ask is answered at these: see waits in its status."
      : "";
    throw new AppError("not_waiting", `The run has no open question${ofStep} at this moment.${ofChild}`);
  }
  if (second) {
    const ids = questions.map(({ wait_id }) => wait_id).join(", ");
    const message = `must name one of the questions that are open: ${ids}`;
    throw new AppError("several_questions", `Several questions are open: question_id ${message}.`, {
      fields: [{ path: "question_id", message }],
    });
  }
  return question;
}

/**
 * The decision of an answer to a question that needs approvals; null: it needs none.
 * @param answer as it was sent, and with the defaults of the fields that it leaves out
 * @throws AppError `invalid` for an answer that does not fit
 */
function requireFit(
  question: Question,
  { sent, filled }: { sent: JsonObject; filled: JsonObject },
  person: string | null,
): Decision | null {
  const vote = question.approvals_needed === null ? null : Decision.safeParse(filled["decision"]);
  const alsoKnown = vote === null ? [] : ["decision"];
  const fields = [
    ...answerErrors(question.fields, sent, alsoKnown),
    ...approverErrors(question.approvers, person),
  ];
  if (vote?.success === false) {
    fields.push({ path: "response.decision", message: `must be one of ${Decision.options.join(", ")}` });
  }
  if (vote !== null && utf8(JSON.stringify(filled)).length > MAX_VOTE_BYTES) {
    fields.push({ path: "response", message: `of an approver may have at most ${MAX_VOTE_BYTES} bytes` });
  }
  if (fields.length === 0) return vote?.data ?? null;
  const detail = `Not valid: ${fields.map(({ path, message }) => `${path} ${message}`).join("; ")}.`;
  throw new AppError("invalid", detail, { fields });
}

function approverErrors(approvers: readonly string[] | null, person: string | null): FieldError[] {
  if (approvers === null || (person !== null && approvers.includes(person))) return [];
  const problem =
    person === null ? "is required for this question: it" : "names a person who may not answer: it";
  return [{ path: "answered_by", message: `${problem} must be one of ${approvers.join(", ")}` }];
}

type SourcedAnswer = { by: string; person: string | null; answer: string };

/** The outcome of an answer that was not stored now, because the same answer was stored before. @throws AppError otherwise */
function replayOf(
  refusal: AnswerRefusal,
  { questionId }: WaitFilter,
  answered: SourcedAnswer,
): { replayed: true; waits: boolean } {
  if (questionId !== null && wasStored(refusal, answered)) {
    return { replayed: true, waits: refusal.is === "voted_before" };
  }
  throw notAnswered(refusal, answered.person);
}

/** Whether the stored answer, or a stored vote, is this one: the same values by the same key and person, in any order of their names. */
function wasStored(refusal: AnswerRefusal, { by, person, answer: text }: SourcedAnswer): boolean {
  if (refusal.is !== "taken" && refusal.is !== "voted_before") return false;
  const { votes } = refusal;
  if (votes.length > 0) {
    return votes.some((vote) => vote.person === person && vote.key_id === by && isSame(vote.answer, text));
  }
  return (
    refusal.is === "taken" && refusal.by === by && refusal.person === person && isSame(refusal.answer, text)
  );
}

function isSame(stored: string | null, sent: string): boolean {
  return stored !== null && (stored === sent || sortedText(stored) === sortedText(sent));
}

function sortedText(text: string): string {
  return JSON.stringify(JSON.parse(text), sortedKeys);
}

function finished({ status }: Pick<RunRow, "status">): AppError {
  return new AppError("run_finished", `The run is ${status}; it takes no more answers.`);
}

function notAnswered(outcome: AnswerRefusal, person: string | null): AppError {
  switch (outcome.is) {
    case "taken":
      return new AppError("conflict", whyTaken(outcome));
    case "voted_before":
      return new AppError("conflict", `${person ?? "This person"} has answered the question already.`);
    case "ended":
      return new AppError("run_finished", "The run has ended; it takes no more answers.");
    case "unknown":
      return new AppError("not_waiting", "The run has no such question.");
  }
}

function whyTaken({ by }: Extract<AnswerRefusal, { is: "taken" }>): string {
  if (by === CLOSED_BY.deadline) return "The question has expired: no answer came in time.";
  if (by === CLOSED_BY.retry) return "The question is closed: it is from before a retry of the run.";
  if (by === CLOSED_BY.branch) return "The question is closed: another step of its branch has failed.";
  return "The question already has an answer.";
}

/** Logs a failed enqueue. The answer is committed and the run is queued: the reconciler enqueues its job. */
function logNotEnqueued(error: unknown): void {
  log.info("answer.not_enqueued", { error: messageOf(error) });
}
