import { personKey } from "./same-person.ts";
import type { FieldError } from "../../errors.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { StepOf } from "./step.ts";

type Human = StepOf<"human">;

/** What is wrong with the approvers, the escalations and the timeout of human steps. */
export function approvalErrors({ steps }: Pick<OrchestrationDocument, "steps">): FieldError[] {
  return steps.flatMap((step, index) =>
    step.type === "human"
      ? [
          ...questionErrors(step),
          ...timeoutErrors(step),
          ...quorumErrors(step),
          ...escalationErrors(step),
        ].map(({ path, message }) => ({
          path: `steps[${index}].${path}`,
          message,
        }))
      : [],
  );
}

function questionErrors({ human_prompt }: Human): FieldError[] {
  return human_prompt !== "" && human_prompt.trim() === ""
    ? [{ path: "human_prompt", message: "is blank: a human step must have a question" }]
    : [];
}

function timeoutErrors({ on_timeout, timeout_step_id, human_fields }: Human): FieldError[] {
  const path = "timeout_step_id";
  if (on_timeout === "route" && timeout_step_id === undefined) {
    return [{ path, message: "is required with on_timeout route: name a step, or null to end the run" }];
  }
  if (on_timeout !== "route" && typeof timeout_step_id === "string") {
    return [{ path, message: `is never followed: on_timeout is ${on_timeout}, and must be route` }];
  }
  if (on_timeout !== "default") return [];
  return human_fields.flatMap((field, i) =>
    field.required && field.default === undefined
      ? [
          {
            path: `human_fields[${i}].default`,
            message: "is required for this field with on_timeout default",
          },
        ]
      : [],
  );
}

function quorumErrors({ approvers, approvals_needed: needed, human_fields }: Human): FieldError[] {
  const twice = repeated(approvers, "approvers");
  if (needed === null) return twice;
  const path = "approvals_needed";
  const tooMany =
    needed > approvers.length
      ? [
          {
            path,
            message: `is ${needed}, and approvers has ${approvers.length} names: it must be at most that`,
          },
        ]
      : [];
  const reserved = human_fields.flatMap(({ key }, i) =>
    key === "decision" || key === "votes"
      ? [{ path: `human_fields[${i}].key`, message: `"${key}" is reserved in a step with approvals_needed` }]
      : [],
  );
  return [...twice, ...tooMany, ...reserved];
}

function escalationErrors({ approvers, escalate_to, human_timeout_seconds }: Human): FieldError[] {
  if (escalate_to.length > 0 && approvers.length === 0) {
    return [{ path: "approvers", message: "is required with escalate_to: without it anyone may answer" }];
  }
  const known = new Set(approvers.map(personKey));
  let after = 0;
  return escalate_to.flatMap((group, i) => {
    const path = `escalate_to[${i}]`;
    const errors = repeated(group.approvers, `${path}.approvers`);
    if (group.approvers.every((person) => known.has(personKey(person)))) {
      errors.push({ path: `${path}.approvers`, message: "must name a person who is in no group before" });
    }
    if (group.after_seconds <= after) {
      errors.push({
        path: `${path}.after_seconds`,
        message: `must be more than ${after}, that of the group before`,
      });
    }
    if (group.after_seconds >= human_timeout_seconds) {
      const message = `must be less than human_timeout_seconds, which is ${human_timeout_seconds}`;
      errors.push({ path: `${path}.after_seconds`, message });
    }
    for (const person of group.approvers) known.add(personKey(person));
    after = group.after_seconds;
    return errors;
  });
}

function repeated(people: readonly string[], path: string): FieldError[] {
  const keys = people.map(personKey);
  return people.flatMap((person, i) => {
    const at = `${path}[${i}]`;
    if (person !== "" && person.trim() !== person) {
      return [
        { path: at, message: `"${person}" begins or ends with a space: answers name persons without it` },
      ];
    }
    const first = people[keys.indexOf(personKey(person))];
    if (first === person && people.indexOf(person) === i) return [];
    const message =
      first === person
        ? `"${person}" is in the list twice`
        : `"${person}" is in the list as "${first}" already: each person answers once`;
    return [{ path: at, message }];
  });
}
