import { z } from "zod";
import { DefinitionId } from "../ids.ts";
import {
  JsonTable,
  Keys,
  limits,
  orDefault,
  orNull,
  OptionalTarget,
  required,
  StateKey,
  tableOf,
  Targets,
  text,
} from "./fields.ts";
import { Escalation, HumanField, People } from "./human.ts";
import { mendedSchema } from "./tool-schema.ts";

/**
 * How many tries a failing step has, and the time between them: exponential from `base_seconds`, with full jitter.
 */
export const Retry = z
  .object({
    attempts: orDefault(z.number().int().min(1).max(10).default(3)),
    base_seconds: orDefault(z.number().min(0).max(3_600).default(1)),
    max_seconds: orDefault(z.number().min(0).max(86_400).default(60)),
  })
  .refine((retry) => retry.base_seconds <= retry.max_seconds, "base_seconds must be at most max_seconds");
export type Retry = z.infer<typeof Retry>;

/** A place in state: a key, and a path into its value. */
const StatePath = z
  .string()
  .max(limits.nameChars)
  .regex(
    /^(?:state\.)?[A-Za-z_][\w-]*(?:\.[\w-]+)*$/,
    "must be a key of state, such as state.items or state.answer.items",
  );

const common = {
  id: DefinitionId,
  name: text(limits.nameChars),
  input_keys: Keys,
  output_key: orNull(StateKey),
  next_step_id: OptionalTarget,
  /**
   * After so many results of this step the run skips it. 0 removes this limit, which is refused for a step in a cycle
   * that no other step ends.
   */
  max_iterations: orDefault(z.number().int().min(0).max(limits.maxIterations).default(3)),
  timeout_seconds: orDefault(z.number().int().min(1).max(86_400).default(300)),
  retry: orDefault(Retry.default({ attempts: 3, base_seconds: 1, max_seconds: 60 })),
  position_x: orNull(z.number()),
  position_y: orNull(z.number()),
};

const prompted = {
  prompt_template: text(limits.promptChars),
  model: orNull(z.string().max(limits.nameChars)),
};

/** The fields of steps whose answer may have a form. */
const structured = {
  /** JSON schema of the answer, which is then its value and not a text; null: the answer is text. */
  output_schema: orNull(
    JsonTable.refine(
      (schema) => JSON.stringify(schema).length <= limits.schemaChars,
      `must be at most ${limits.schemaChars} characters of JSON`,
    ).transform(mendedSchema),
  ),
};

/** The fields of steps whose model calls may take the answer of an earlier call of the tenant with the same request. */
const cached = {
  cache_responses_enabled: orDefault(z.boolean().default(false)),
  /** How old such an answer may be. */
  cache_response_ttl_seconds: orDefault(z.number().int().min(1).max(limits.cacheSeconds).default(3_600)),
};

/** The fields of steps whose model calls a provider may continue while no worker is connected to it. */
const detached = {
  /** True: a worker that takes the run over gets the answer that has begun, if the model's provider can give it, and it is paid for once. */
  background: orDefault(z.boolean().default(false)),
};

/** The fields of all steps that divide a run into several tracks. */
const forking = {
  /** The step's own limit; the time in which the run is paused does not count. Null: only the run's limit holds. */
  timeout_seconds: orNull(z.number().int().min(1).max(2_592_000)),
  /** How many tracks move at the same time; null: all branches, or one iteration after the other. */
  concurrency: orNull(z.number().int().min(1).max(limits.concurrency)),
  /** `fail_fast`: the first failure stops the other tracks and fails the step. `collect`: they go on, and the result has the errors. */
  on_branch_error: orDefault(z.enum(["fail_fast", "collect"]).default("fail_fast")),
};

/** The schema of each type of step. */
export const stepSchemas = {
  agent: z.object({
    ...common,
    ...prompted,
    ...structured,
    ...cached,
    ...detached,
    type: z.literal("agent"),
    agent_id: orDefault(DefinitionId),
    max_turns: orDefault(z.number().int().min(1).max(100).default(15)),
    /** A part of the agent's own list; null: the whole list. */
    allowed_tools: orNull(z.array(z.string()).max(limits.tools)),
  }),
  llm: z.object({ ...common, ...prompted, ...structured, ...cached, ...detached, type: z.literal("llm") }),
  tool: z.object({
    ...common,
    ...prompted,
    type: z.literal("tool"),
    forced_tool: required(limits.nameChars, "is required: a tool step must name its tool"),
  }),
  evaluator: z.object({
    ...common,
    ...cached,
    type: z.literal("evaluator"),
    model: prompted.model,
    evaluator_prompt: text(limits.promptChars),
    route_map: Targets,
    route_descriptions: orDefault(
      tableOf(limits.descriptions, z.string(), z.string().max(limits.descriptionChars)).default({}),
    ),
    /** The label that is used when the model chooses none; null: the step fails. */
    default_route: orNull(z.string().max(limits.nameChars)),
  }),
  parallel: z.object({
    ...common,
    ...forking,
    type: z.literal("parallel"),
    /** Each branch is a list of steps in their order, or one step that is followed along its `next_step_id`. */
    parallel_branches: orDefault(
      z.array(z.array(DefinitionId).min(1).max(limits.steps)).max(limits.routes).default([]),
    ),
  }),
  merge: z.object({
    ...common,
    type: z.literal("merge"),
    merge_strategy: orDefault(z.enum(["list", "concat", "dict"]).default("list")),
  }),
  loop: z.object({
    ...common,
    ...forking,
    type: z.literal("loop"),
    loop_count: orDefault(z.number().int().min(1).max(limits.loopIterations).default(3)),
    /** The place in state of a list whose items get one iteration each; null: `loop_count` iterations. */
    for_each: orNull(StatePath),
    /** The steps of an iteration, in their order. */
    loop_step_ids: orDefault(z.array(DefinitionId).max(limits.steps).default([])),
  }),
  human: z.object({
    ...common,
    type: z.literal("human"),
    human_prompt: text(limits.promptChars),
    human_fields: orDefault(z.array(HumanField).max(limits.keys).default([])),
    human_channel_id: orNull(z.string().max(limits.nameChars)),
    human_timeout_seconds: orDefault(z.number().int().min(1).max(limits.waitSeconds).default(3_600)),
    /** `default`: the defaults of the fields become the answer. `route`: the run goes to `timeout_step_id`. */
    on_timeout: orDefault(z.enum(["fail", "default", "route"]).default("fail")),
    timeout_step_id: OptionalTarget,
    /** The only persons who may answer; empty: anyone with the key. */
    approvers: orDefault(People.default([])),
    /** How many of them must approve; null: the first answer counts. */
    approvals_needed: orNull(z.number().int().min(1).max(limits.approvers)),
    /** Groups to which an open question goes too, each after its time. */
    escalate_to: orDefault(z.array(Escalation).max(limits.escalations).default([])),
  }),
  wait: z.object({
    ...common,
    type: z.literal("wait"),
    /** How long it waits; a text is rendered. */
    wait_seconds: orNull(
      z.union([z.number().min(0).max(limits.waitSeconds), z.string().max(limits.nameChars)]),
    ),
    /** The time until which it waits, as RFC 3339 writes it; placeholders are filled in. */
    wait_until: orNull(z.string().max(limits.nameChars)),
  }),
  transform: z.object({
    ...common,
    type: z.literal("transform"),
    transform_code: required(limits.codeChars, "is required for a transform step"),
  }),
  extract_json: z.object({
    ...common,
    type: z.literal("extract_json"),
    /** The model that is asked once for the JSON of a text that has none. */
    model: prompted.model,
  }),
  if_else: z.object({
    ...common,
    type: z.literal("if_else"),
    if_condition: required(limits.codeChars, "is required for an if_else step"),
    if_true_step_id: OptionalTarget,
    if_false_step_id: OptionalTarget,
  }),
  switch: z.object({
    ...common,
    type: z.literal("switch"),
    switch_expression: required(limits.codeChars, "is required for a switch step"),
    switch_cases: Targets,
    switch_default_step_id: OptionalTarget,
  }),
  print: z.object({
    ...common,
    type: z.literal("print"),
    print_content: required(limits.promptChars, "is required for a print step"),
  }),
  orchestration: z.object({
    ...common,
    type: z.literal("orchestration"),
    orchestration_id: orDefault(DefinitionId),
    /** The child's message; empty: the message of this run. */
    input: text(limits.promptChars),
    /** The child's state, besides the `input_keys`, which it gets under their own names: from its key to a place in this run's state. */
    child_state: orDefault(tableOf(limits.keys, StateKey, StatePath).default({})),
    /** `continue`: a child that fails or is cancelled gives an object with its `error`. */
    on_child_error: orDefault(z.enum(["fail", "continue"]).default("fail")),
    /** How long this step waits for the child; null: as long as the child may take. */
    timeout_seconds: orNull(z.number().int().min(1).max(31_536_000)),
  }),
  end: z.object({ ...common, type: z.literal("end") }),
};

/** The fields of each type of step. */
export const stepShapes = Object.fromEntries(
  Object.values(stepSchemas).map(({ shape }) => [shape.type.value, shape]),
);

/**
 * A step of a definition. Authors write one flat record for all types; parsing drops the fields of other types and
 * fills in the defaults.
 */
export const Step = z.discriminatedUnion("type", [
  stepSchemas.agent,
  stepSchemas.llm,
  stepSchemas.tool,
  stepSchemas.evaluator,
  stepSchemas.parallel,
  stepSchemas.merge,
  stepSchemas.loop,
  stepSchemas.human,
  stepSchemas.wait,
  stepSchemas.transform,
  stepSchemas.extract_json,
  stepSchemas.if_else,
  stepSchemas.switch,
  stepSchemas.print,
  stepSchemas.orchestration,
  stepSchemas.end,
]);
export type Step = z.infer<typeof Step>;

/** The name of a type of step. */
export type StepType = Step["type"];
/** A step of one of these types. */
export type StepOf<Type extends StepType> = Extract<Step, { type: Type }>;

/** A step that divides a run into tracks: one for each branch or iteration. */
export type ForkStep = StepOf<"parallel" | "loop">;

/** The keys that lead to a place in state: `state.a.b` and `a.b` are the same. */
export function pathInState(place: string): string[] {
  return place.replace(/^state\./, "").split(".");
}

/** Whether a place of `for_each` is in the item of the loop around its step, if there is one. */
export function readsItem(place: string): boolean {
  return /^item(?:\.|$)/.test(place);
}

/** Whether a step divides the run into tracks. */
export function isFork(step: Step): step is ForkStep {
  return step.type === "parallel" || step.type === "loop";
}

/** A step that does not divide the run: one executor gives its result. */
export type LeafStep = Exclude<Step, ForkStep>;

/**
 * The text of a step whose placeholders `{state.key}` and `{input}` are filled in, and its field; null: it has
 * none.
 */
export function templateOf(step: Step): { field: string; template: string } | null {
  switch (step.type) {
    case "agent":
    case "llm":
    case "tool":
      return { field: "prompt_template", template: step.prompt_template };
    case "evaluator":
      return { field: "evaluator_prompt", template: step.evaluator_prompt };
    case "human":
      return { field: "human_prompt", template: step.human_prompt };
    case "wait":
      return typeof step.wait_seconds === "string"
        ? { field: "wait_seconds", template: step.wait_seconds }
        : { field: "wait_until", template: step.wait_until ?? "" };
    case "print":
      return { field: "print_content", template: step.print_content };
    case "orchestration":
      return { field: "input", template: step.input };
    default:
      return null;
  }
}
