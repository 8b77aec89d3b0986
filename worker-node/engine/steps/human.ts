import type { Vote } from "../../../shared/contracts/approval.ts";
import { withDefaults } from "../../../shared/contracts/definition/human.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import { JsonValue, isObject } from "../../../shared/contracts/json.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import type { Executor, Reply, StepResult } from "../ports.ts";
import { askPerson, goOnAsking } from "./ask-person.ts";

type Human = StepOf<"human">;
type Over<State extends Reply["is"]> = Extract<Reply, { is: State }>;

/**
 * Asks a person, or several of whom some must approve. The run occupies no worker until the answer is there, unless another
 * branch of it moves. The answer is stored under `output_key`, and always under `human_response` too. `on_timeout` says what
 * becomes of a question without an answer.
 */
export const human: Executor<"human"> = async (step, context) => {
  const { reply } = context;
  switch (reply?.is) {
    case "answered":
      return answered(step, reply);
    case "expired":
      return timedOut(step, reply);
    case "open":
      // The run woke for another reason than an answer.
      return goOnAsking(step, reply);
    case "closed":
    case undefined:
      return askPerson(step, context);
  }
};

function answered(step: Human, { answer, by, votes, openForMs }: Over<"answered">): StepResult {
  const response = step.approvals_needed === null ? answer : withVotes(answer, votes);
  return {
    set: answerKeys(step, response),
    events: [{ type: "human_response", ...namesOf(step), response, answered_by: by }],
    usage: [],
    effects: [],
    answeredBy: by,
    waitedMs: openForMs,
  };
}

/** No answer came in time. Approvals that were not reached in time are a rejection. */
function timedOut(step: Human, { votes, openForMs }: Over<"expired">): StepResult {
  const { on_timeout } = step;
  if (on_timeout === "fail") {
    throw new TerminalError("human_timeout", `no answer came within ${step.human_timeout_seconds} s`);
  }
  const over = { usage: [], effects: [], answeredBy: null, waitedMs: openForMs };
  const target = (on_timeout === "route" ? step.timeout_step_id : step.next_step_id) ?? null;
  const event = { type: "human_timed_out" as const, ...namesOf(step), on_timeout, target_step_id: target };
  // An answer of an earlier visit must not count for this one.
  if (on_timeout === "route")
    return { ...over, set: answerKeys(step, null), route: { target }, events: [event] };
  const defaults = withDefaults(step.human_fields, {});
  const response =
    step.approvals_needed === null ? defaults : withVotes({ ...defaults, decision: "reject" }, votes);
  const shown = { type: "human_response" as const, ...namesOf(step), response, answered_by: null };
  return { ...over, set: answerKeys(step, response), events: [event, shown] };
}

function answerKeys(step: Human, response: Json): StepResult["set"] {
  return { [step.output_key ?? "human_response"]: response, human_response: response };
}

/** The decision of the approvers, with the answer of each. */
function withVotes(decided: Json, votes: readonly Vote[]): Json {
  const shown = votes.map(({ person, decision, answer, at }): Json => {
    return { person, decision, response: JsonValue.parse(JSON.parse(answer)), at };
  });
  return { ...(isObject(decided) && decided), votes: shown };
}
