/** The definitions of the quiet tenant and of the hostile ones. */
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { toolAt } from "../definitions.ts";
import type { KindName } from "./kinds.ts";

type Step = { id: string; type: string } & JsonObject;
export type Orchestration = JsonObject & { id: string };

const SMALL_TURNS = 1_000;
/** A hostile step has one try: the next run repeats the harm. */
const oneTry = { attempts: 1, base_seconds: 0, max_seconds: 0 };

function orchestration(id: string, steps: readonly Step[]): Orchestration {
  return {
    id,
    name: id,
    entry_step_id: steps[0]?.id ?? "",
    max_total_turns: 3 * SMALL_TURNS,
    timeout_minutes: 5,
    steps: steps.map((step, index) => ({
      name: step.id,
      timeout_seconds: 30,
      next_step_id: steps[index + 1]?.id ?? null,
      ...step,
    })),
  };
}

/** Every part of a worker that tenants share: a tool, a model, a program and an expression in the sandbox. */
export const quietWork = orchestration("quiet_work", [
  { id: "note", type: "tool", forced_tool: "note_down", output_key: "noted" },
  {
    id: "write",
    type: "llm",
    model: "openai-compatible/gpt-4.1-mini",
    prompt_template: "Write about {input}",
    output_key: "text",
  },
  { id: "count", type: "transform", transform_code: "result = state.text.length", output_key: "chars" },
  { id: "long", type: "if_else", if_condition: "state.chars > 5", if_true_step_id: "done" },
  { id: "done", type: "print", print_content: "{state.text}", output_key: "done" },
]);

const print = (id: string, print_content: string): Step => ({ id, type: "print", print_content });
/** Sets a value of a million characters. */
const fill = (id: string, output_key: string, character = "x"): Step => ({
  id,
  type: "transform",
  transform_code: `result = "${character}".repeat(1000 * 1000)`,
  output_key,
});

const fillSmall = (id: string, index: number, ids: readonly string[]): Step => ({
  ...fill(id, "small"),
  transform_code: `result = "x".repeat(32000)`,
  max_iterations: SMALL_TURNS,
  next_step_id: ids[index + 1] ?? "again",
});

/** Leads back to step `one` each time. */
const backToOne: Step = {
  id: "again",
  type: "if_else",
  max_iterations: SMALL_TURNS,
  if_condition: 'state.small == ""',
  if_true_step_id: null,
  if_false_step_id: "one",
};

/** Ways in which a tool of the hostile server behaves (servers.ts). */
export const TOOLS = ["mute", "drip", "flood"] as const;
/** Ways in which a model of the hostile server behaves (servers.ts). */
export const MODELS = ["garbage", "huge", "endless", "mute"] as const;

const LARGE_STEPS = 180;
const LARGE_CHARS = 4_500;

/** A definition near the limit of a body. Each number makes another one, so that each save stores a version. */
export function largeDefinition(number: number): Orchestration {
  const steps = Array.from({ length: LARGE_STEPS }, (_, step) =>
    print(`s${step}`, `${number} ${"{input} ".repeat(5)}`.padEnd(LARGE_CHARS, "text ")),
  );
  return orchestration("hostile_large", steps);
}

/** A condition that is as long as one may be, and nested deeper than one may be. */
export function deepDefinition(number: number): Orchestration {
  const depth = 2_000 + number;
  const if_condition = `${"(".repeat(depth)}1${")".repeat(depth)}`;
  return orchestration("hostile_deep", [
    { id: "deep", type: "if_else", if_condition, if_true_step_id: null },
  ]);
}

/** What each hostile tenant saves before it begins. */
export const hostileOrchestrations: Record<KindName, readonly Orchestration[]> = {
  malformed: [orchestration("hostile_print", [print("one", "done")])],
  maximal: [orchestration("hostile_print", [print("one", "done")])],
  rendering: [orchestration("hostile_render", [print("one", "{input}".repeat(500))])],
  spinning: [
    orchestration("hostile_program", [
      { id: "spin", type: "transform", transform_code: "while (true) {} result = 1", output_key: "n" },
    ]),
    orchestration("hostile_expression", [
      {
        id: "spin",
        type: "if_else",
        if_condition: "(() => { while (true) {} })()",
        if_true_step_id: null,
        if_false_step_id: null,
      },
    ]),
  ],
  tools: TOOLS.map((tool) =>
    orchestration(`hostile_${tool}`, [
      { id: "call", type: "tool", forced_tool: `hostile_${tool}`, output_key: "answer", retry: oneTry },
    ]),
  ),
  models: MODELS.map((model) =>
    orchestration(`hostile_${model}`, [
      {
        id: "ask",
        type: "llm",
        model: `openai/${model}`,
        prompt_template: "Go on",
        output_key: "answer",
        timeout_seconds: 10,
        retry: oneTry,
      },
    ]),
  ),
  webhooks: [orchestration("hostile_print", [print("one", "done")])],
  pollers: [orchestration("hostile_print", [print("one", "done")])],
  viewers: [orchestration("hostile_events", [fill("fill", "large"), print("show", "{state.large}")])],
  dropped: [orchestration("hostile_events", [fill("fill", "large"), print("show", "{state.large}")])],
  guessing: [],
  definitions: [],
  // 17 values of 1 MB pass the 16 MiB of a state. The second one's programs read states of megabytes, until one has no memory left.
  state: [
    orchestration(
      "hostile_state",
      Array.from({ length: 20 }, (_, n) => ({ ...print(`show${n}`, "{input}"), output_key: `large${n}` })),
    ),
    orchestration(
      "hostile_values",
      Array.from({ length: 6 }, (_, n) => fill(`fill${n}`, `large${n}`, "語")),
    ),
  ],
  // Values that are too small for the object store, so that they are in the journal. Three steps have turns enough for 64 MiB.
  journal: [orchestration("hostile_journal", [...["one", "two", "three"].map(fillSmall), backToOne])],
};

/** The tools of a kind, at the address of the hostile server. */
export function hostileTools(kind: KindName, server: string): { name: string; body: JsonObject }[] {
  if (kind !== "tools") return [];
  return TOOLS.map((tool) => {
    const name = `hostile_${tool}`;
    return { name, body: { ...toolAt(`${server}/tool/${tool}`), name } };
  });
}
