/** The orchestrations of the simulation with their models and tools, and the outcomes that each may have. */
import { z } from "zod";
import { RetryableError, TerminalError } from "../../worker-node/engine/step-errors.ts";
import type { Models, Tools } from "../../worker-node/engine/ports.ts";
import { currentProcess } from "./clock.ts";
import type { Library } from "./postgres-model.ts";
import { setTimeout as sleep } from "./virtual-timers.ts";

/**
 * `outcomes`: `completed`, or the error codes with which it may fail. `usage`: how many model calls and children its results charge.
 * `workMs`: how long it takes without faults.
 */
type SimOrchestration = {
  steps: object[];
  minutes?: number;
  outcomes: readonly string[];
  usage: number;
  workMs: number;
};

const print = (id: string, next: string | null = null) => ({
  id,
  type: "print",
  print_content: `printed by ${id}`,
  output_key: id,
  next_step_id: next,
});
const tool = (name: string, fields: object = {}) => ({
  id: name,
  type: "tool",
  forced_tool: name,
  output_key: name,
  next_step_id: "last",
  ...fields,
});
const fork = (id: string, parallel_branches: string[][]) => ({
  id,
  type: "parallel",
  parallel_branches,
  next_step_id: "last",
});
const nested = (id: string, orchestration_id: string, next: string | null = "last") => ({
  id,
  type: "orchestration",
  orchestration_id,
  output_key: id,
  next_step_id: next,
});
const llm = {
  id: "write",
  type: "llm",
  prompt_template: "Write.",
  output_key: "write",
  next_step_id: "fetch",
};
const agent = {
  id: "work",
  type: "agent",
  agent_id: "helper",
  prompt_template: "Work.",
  output_key: "work",
  next_step_id: "last",
};

export const orchestrations = {
  prints: {
    steps: [print("first", "second"), print("second", "last"), print("last")],
    outcomes: ["completed"],
    usage: 0,
    workMs: 200,
  },
  talk: { steps: [llm, tool("fetch"), print("last")], outcomes: ["completed"], usage: 1, workMs: 1_500 },
  agent: { steps: [agent, print("last")], outcomes: ["completed"], usage: 2, workMs: 1_800 },
  long: {
    steps: [print("first", "slow"), tool("slow"), print("last")],
    outcomes: ["completed"],
    usage: 0,
    workMs: 8_500,
  },
  flaky: {
    steps: [tool("flaky", { retry: { attempts: 5, base_seconds: 1, max_seconds: 2 } }), print("last")],
    outcomes: ["completed"],
    usage: 0,
    workMs: 12_000,
  },
  doomed: {
    steps: [print("first", "doomed"), tool("doomed"), print("last")],
    outcomes: ["doomed"],
    usage: 0,
    workMs: 800,
  },
  hang: {
    steps: [tool("hang", { timeout_seconds: 4 }), print("last")],
    outcomes: ["step_timeout"],
    usage: 0,
    workMs: 4_500,
  },
  tired: {
    steps: [tool("tired", { retry: { attempts: 10, base_seconds: 2, max_seconds: 4 } }), print("last")],
    minutes: 0.1,
    outcomes: ["run_timeout", "tired"],
    usage: 0,
    workMs: 8_000,
  },
  asks: {
    // Two rounds: an answer to the first question must not count for the second.
    steps: [
      { ...print("first", "asked"), max_iterations: 2 },
      {
        id: "asked",
        type: "human",
        human_prompt: "Go on?",
        human_timeout_seconds: 9,
        output_key: "human_response",
        max_iterations: 2,
        next_step_id: "again",
      },
      // The condition is always true: the limits of the other steps end the loop, and the run then ends.
      { id: "again", type: "if_else", if_condition: "true", if_true_step_id: "first", next_step_id: null },
    ],
    outcomes: ["completed", "human_timeout"],
    usage: 0,
    workMs: 20_000,
  },
  fan: {
    // A call, a model, a long retry and a loop in branches: each branch parks, loses its worker and continues independently.
    steps: [
      fork("fan", [["fetch", "write"], ["flaky"], ["rounds"]]),
      tool("fetch"),
      { ...llm, next_step_id: "last" },
      tool("flaky", { retry: { attempts: 5, base_seconds: 1, max_seconds: 2 } }),
      { id: "rounds", type: "loop", loop_count: 3, loop_step_ids: ["count"], next_step_id: "last" },
      print("count"),
      print("last"),
    ],
    outcomes: ["completed"],
    usage: 1,
    workMs: 14_000,
  },
  panel: {
    // A question beside a call: its answer may come while the call is under way, or when the run is parked.
    steps: [
      fork("fan", [["asked", "fetch"], ["slow"]]),
      {
        id: "asked",
        type: "human",
        human_prompt: "Go on?",
        human_timeout_seconds: 12,
        output_key: "human_response",
        next_step_id: "fetch",
      },
      tool("fetch"),
      tool("slow"),
      print("last"),
    ],
    outcomes: ["completed", "human_timeout"],
    usage: 0,
    workMs: 14_000,
  },
  rests: {
    // Timers beside a long retry and a question: each ends at its time, however often the run moves to another worker.
    steps: [
      fork("fan", [["nap", "fetch"], ["flaky"], ["asked"], ["doze"]]),
      { id: "nap", type: "wait", wait_seconds: 7 },
      tool("fetch"),
      tool("flaky", { retry: { attempts: 5, base_seconds: 1, max_seconds: 2 } }),
      {
        id: "asked",
        type: "human",
        human_prompt: "Go on?",
        human_timeout_seconds: 30,
        approvers: ["ann"],
        escalate_to: [
          { after_seconds: 4, approvers: ["bob"] },
          { after_seconds: 11, approvers: ["cat"] },
        ],
        output_key: "human_response",
      },
      { id: "doze", type: "wait", wait_seconds: "9" },
      { id: "last", type: "wait", wait_seconds: 3 },
    ],
    outcomes: ["completed", "human_timeout"],
    usage: 0,
    workMs: 40_000,
  },
  family: {
    // A child alone, then two beside a call: each may die, park and go on while its parent does. A child may be poisoned.
    steps: [
      nested("alone", "talk", "both"),
      fork("both", [["left"], ["right", "fetch"]]),
      nested("left", "flaky"),
      nested("right", "inner", "fetch"),
      tool("fetch"),
      print("last"),
    ],
    outcomes: ["completed", "child_failed", "child_cancelled"],
    // The usage of each child.
    usage: 3,
    workMs: 45_000,
  },
  team: {
    // An agent whose model fails once, and which starts a run beside a long call: it waits for that run in memory.
    steps: [
      fork("team", [["lead"], ["slow"]]),
      {
        id: "lead",
        type: "agent",
        agent_id: "lead",
        prompt_template: "Lead.",
        output_key: "lead",
        retry: { attempts: 5, base_seconds: 1, max_seconds: 2 },
        next_step_id: "last",
      },
      tool("slow"),
      print("last"),
    ],
    outcomes: ["completed"],
    // Two answers, and the run between them.
    usage: 3,
    workMs: 12_000,
  },
  inner: {
    steps: [nested("deep", "prints"), print("last")],
    outcomes: ["completed", "child_failed", "child_cancelled"],
    usage: 1,
    workMs: 2_000,
  },
  killer: {
    steps: [print("first", "killer"), tool("killer"), print("last")],
    outcomes: ["poison"],
    usage: 0,
    workMs: 65_000,
  },
} satisfies Record<string, SimOrchestration>;

export type OrchestrationName = keyof typeof orchestrations;

export function orchestrationOf(id: string): SimOrchestration {
  const found = Object.entries(orchestrations).find(([name]) => name === id);
  if (!found) throw new Error(`there is no orchestration ${id}`);
  return found[1];
}

/** The step without whose result a step of the same track is not executed; null: it is the first one, or several lead to it. */
export function stepBefore({ steps }: SimOrchestration, id: string): string | null {
  const lists = steps.flatMap((step) => Branches.parse(step).parallel_branches);
  const list = lists.find((ids) => ids.includes(id));
  if (list !== undefined) return list[list.indexOf(id) - 1] ?? null;
  const sources = steps.map((step) => Edge.parse(step)).filter(({ next_step_id }) => next_step_id === id);
  return sources.length === 1 ? (sources[0]?.id ?? null) : null;
}

const Branches = z.looseObject({ parallel_branches: z.array(z.array(z.string())).default([]) });
const Edge = z.looseObject({ id: z.string(), next_step_id: z.string().nullish() });

/** The state that the steps of a completed run have written, without the answers of clients. */
export function outputsOf({ steps }: SimOrchestration): Record<string, unknown> {
  const decided = steps.flatMap((step) =>
    "if_condition" in step && "id" in step ? [[`_if_decision_${String(step.id)}`, "true"]] : [],
  );
  const ids = steps.flatMap((step) =>
    "output_key" in step && step.output_key !== "human_response" ? [String(step.output_key)] : [],
  );
  const written = ids.map((id) => [id, outputs.get(id) ?? `printed by ${id}`]);
  return Object.fromEntries([...written, ...decided]);
}

const outputs = new Map<string, unknown>([
  ...["alone", "left", "right", "deep"].map((id): [string, unknown] => [id, "printed by last"]),
  ["write", "one two three "],
  ["work", "one two three "],
  ["lead", "one two three "],
  ["count", ["printed by count", "printed by count", "printed by count"]],
  ...["fetch", "slow", "flaky"].map((name): [string, unknown] => [name, { found: name }]),
]);

const TOOLS = ["fetch", "slow", "flaky", "doomed", "hang", "tired", "killer"];

export const library: Library = {
  orchestrations: new Map(
    Object.entries(orchestrations).map(([id, orchestration]: [string, SimOrchestration]) => {
      const [first] = orchestration.steps;
      const entry_step_id = first && "id" in first ? first.id : null;
      const timeout_minutes = orchestration.minutes ?? 30;
      return [
        id,
        JSON.stringify({ id, name: id, entry_step_id, steps: orchestration.steps, timeout_minutes }),
      ];
    }),
  ),
  named: new Map([
    ["agents helper", JSON.stringify({ id: "helper", name: "Helper", tools: ["fetch"] })],
    [
      "agents lead",
      JSON.stringify({ id: "lead", name: "Lead", tools: ["spawn_run"], orchestration_ids: ["prints"] }),
    ],
    ...TOOLS.map((name): [string, string] => [
      `tools ${name}`,
      JSON.stringify({ name, tool_type: "http", url: "https://example.com/" }),
    ]),
  ]),
};

/** Models and tools. They count the calls of each step of a run over all workers. */
export class FakeModelsAndTools {
  readonly #calls = new Map<string, number>();
  #answers = 0;
  /** Called with the effect key of each call when it arrives. */
  onCall: (effectKey: string) => void = () => {};

  readonly tools: Tools = {
    toolsOf: async () => [],
    async callMcp() {
      throw new Error("runs of a simulation have no MCP servers");
    },
    call: async ({ tool: { name }, effectKey, signal }) => {
      this.onCall(effectKey);
      const call = this.#count(effectKey);
      await sleep(name === "slow" ? 8_000 : 300, undefined, { signal });
      switch (name) {
        case "doomed":
          throw new TerminalError("doomed", "this tool never works");
        case "tired":
          throw new RetryableError("tired", "this tool is always too tired", { answered: true });
        case "flaky":
          if (call > 2) break;
          throw new RetryableError("busy", "come back later", {
            answered: true,
            retryAfterMs: call === 1 ? 8_000 : 100,
          });
        case "hang":
          await new Promise(() => {});
          break;
        case "killer":
          currentProcess().kill();
          await new Promise(() => {});
          break;
        default:
      }
      return { found: name ?? null };
    },
  };

  readonly models: Models = {
    generate: async ({ messages, tools, effectKey, signal, onText, onUsage }) => {
      this.onCall(effectKey);
      const asks = tools.length > 0 && !messages.some(({ role }) => role === "tool");
      // Each response has a cost of its own, which identifies it in the charges.
      const cost_micro_usd = ++this.#answers;
      const usage = { provider: "sim", model: "m", input_tokens: 10, output_tokens: 5, cost_micro_usd };
      if (asks) {
        await sleep(200, undefined, { signal });
        const name = tools[0]?.name ?? "";
        if (name === "spawn_run" && this.#count(effectKey) === 1) {
          onUsage?.(usage);
          throw new RetryableError("model_cut", "the answer was cut off", { answered: true });
        }
        const args = name === "spawn_run" ? { orchestration_id: "prints", message: "work" } : {};
        return { text: "", tool_calls: [{ id: "1", name, args }], usage };
      }
      for (const word of ["one ", "two ", "three "]) {
        await sleep(150, undefined, { signal });
        onText(word);
      }
      return { text: "one two three ", tool_calls: [], usage };
    },
  };

  /** The number of this call of a run's step, from 1. */
  #count(effectKey: string): number {
    const [run, step] = effectKey.split(":");
    const calls = (this.#calls.get(`${run}:${step}`) ?? 0) + 1;
    this.#calls.set(`${run}:${step}`, calls);
    return calls;
  }
}
