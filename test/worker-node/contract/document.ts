/** The cases of the contracts as docs/steps.md. */
import { Failed } from "./case.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { Answer, Case, StepContract } from "./case.ts";

const HEAD = `# The contract of each step type

Each case is executed by \`test/worker-node/contract/\`, as a worker executes a run; models, tools, persons and child runs are scripted. Each is also
executed again from every entry of its journal, as after a crash there: the result is the same, and no call whose outcome was
committed is made again. This file is written from the cases (\`npm run docs:steps\`): change those.

What all types have in common: a step runs when the run comes to it; its result, the events and the charges are committed together; a
failed try is repeated as \`retry\` says unless nothing could change; an error never becomes a result. A call to the outside has a
key, \`path:visit:call\` after the run's id, which is the same after a crash. Each definition below begins with the step \`a\`, and
has the keys of the request's state in its \`state_schema\`; the final states are without what the request gave.
`;

export function documentOf(contracts: { [type: string]: StepContract }): string {
  const sections = Object.entries(contracts).map(([type, { does, cases }]) =>
    [`## ${type}`, does, ...cases.map(sectionOf)].join("\n\n"),
  );
  return `${[HEAD, ...sections].join("\n\n")}\n`.replaceAll(/\n{3,}/g, "\n\n");
}

function sectionOf(stepCase: Case): string {
  return [
    `### It ${stepCase.that}`,
    `\`\`\`json\n[\n${stepCase.steps.map((step) => `  ${json(step)}`).join(",\n")}\n]\n\`\`\``,
    [...givenOf(stepCase), ...resultOf(stepCase)].map((line) => `- ${line}`).join("\n"),
  ].join("\n\n");
}

function givenOf({ message, state, agents, tools, parallel, model, persons, children }: Case): string[] {
  return [
    ...(message === undefined ? [] : [`Message: ${code(message)}`]),
    ...(state === undefined ? [] : [`State of the request: ${code(state)}`]),
    ...entries(agents, (id, agent) => `Agent \`${id}\`: ${code(agent)}`),
    ...entries(tools, (name, answer) => {
      const how = parallel?.includes(name) ? " (`parallel: true`)" : "";
      return `Tool \`${name}\`${how} answers ${code(answer)}`;
    }),
    ...entries(
      model,
      (visit, answers) => `The model answers \`${visit}\`: ${answers.map(answerText).join(", then ")}`,
    ),
    ...entries(persons, (path, answer) => `The person that \`${path}\` asks answers ${code(answer)}`),
    ...entries(children, (path, answer) => `The child that \`${path}\` starts ${childText(answer)}`),
  ];
}

function resultOf({ gives }: Case): string[] {
  return [
    ...(gives.calls === undefined
      ? []
      : [`Calls: ${gives.calls.map((call) => `\`${call}\``).join(", ") || "none"}`]),
    ...entries(gives.prompts, (call, prompt) => `Prompt of \`${call}\`: ${code(prompt)}`),
    ...(gives.checkpoints === undefined ? [] : [`Checkpoints: ${gives.checkpoints}`]),
    ...(gives.events === undefined
      ? []
      : [`Events: ${gives.events.map((type) => `\`${type}\``).join(", ")}`]),
    ...(gives.error === undefined ? [] : [`**Fails** with \`${gives.error.code}\`: ${gives.error.message}`]),
    ...(gives.error !== undefined && Object.keys(gives.state).length === 0
      ? []
      : [`**Final state**: ${code(gives.state)}`]),
  ];
}

function answerText(answer: Answer): string {
  if (typeof answer === "string") return code(answer);
  if ("fails" in answer) return `the failure \`${answer.fails}\``;
  return answer.calls.map(({ name, args }) => `a call of \`${name}\` with ${code(args)}`).join(" and ");
}

function childText(answer: Json | { fails: string }): string {
  const failed = Failed.safeParse(answer);
  return failed.success ? `fails with \`${failed.data.fails}\`` : `responds ${code(answer)}`;
}

function entries<Value>(
  table: { [key: string]: Value } | undefined,
  line: (key: string, value: Value) => string,
): string[] {
  return Object.entries(table ?? {}).map(([key, value]) => line(key, value));
}

const code = (value: Json): string => `\`${json(value)}\``;

/** JSON on one line, with a space after each colon and comma. */
function json(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(json).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).map(([key, inner]) => `${JSON.stringify(key)}: ${json(inner)}`);
  return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`;
}
