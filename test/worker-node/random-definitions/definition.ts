/** Makes the definition of a plan. The id of a step says what it does and where in the plan it is: `llm_1_0_2`. */
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { Leaf, Node, Plan } from "./plan.ts";

/** What surrounds a step. */
type Place = {
  /** The keys of state that are set whatever way led here. */
  known: readonly string[];
  inLoop: boolean;
  inBranch: boolean;
  /** Whether a step may fail here: the outcome must not depend on what runs beside it. */
  mayFail: boolean;
};

type Target = string | null;

const RETRY = { attempts: 10, base_seconds: 0, max_seconds: 0 };

/** The state with which runs of the definition begin. */
export const STATE: JsonObject = { seed: "tea", items: ["green", "black", "white"] };

/** A definition that is valid, whatever the plan. */
export function definitionOf(plan: Plan): JsonObject {
  const compiler = new Compiler();
  const place = { known: ["seed", "items"], inLoop: false, inBranch: false, mayFail: true };
  compiler.sequence(plan, "0", null, place);
  return {
    id: "orch",
    name: "Random",
    entry_step_id: headsOf(plan[0], "0_0")[0] ?? "",
    max_total_turns: 20_000,
    state_schema: { seed: { type: "string" }, items: { type: "list" } },
    steps: compiler.steps,
  };
}

/** The id of a step, and of the merge step that belongs to it, if there is one. */
function headsOf(node: Node | undefined, at: string): string[] {
  if (node === undefined) return [];
  if (node.is === "cycle") return headsOf(node.body[0], `${at}_0`);
  const id = `${kindOf(node)}_${at}`;
  return node.is === "parallel" && node.merges ? [id, `merge_${at}`] : [id];
}

function kindOf(node: Exclude<Node, { is: "cycle" }>): string {
  if (node.is === "leaf") return node.kind;
  return node.is === "choice" ? node.by : node.is;
}

class Compiler {
  readonly steps: JsonObject[] = [];

  /** Steps that lead to each other, and the last of them to `next`. @returns the keys that are set after them */
  sequence(plan: Plan, at: string, next: Target, place: Place): readonly string[] {
    let { known } = place;
    for (const [i, node] of plan.entries()) {
      const after = headsOf(plan[i + 1], `${at}_${i + 1}`)[0] ?? next;
      known = this.#node(node, `${at}_${i}`, after, { ...place, known });
      // What follows the end of the run cannot be reached.
      if (node.is === "leaf" && node.kind === "end" && !place.inBranch) break;
    }
    return known;
  }

  /** Steps that follow each other as a branch or a loop names them. @returns their ids */
  #list(plan: Plan, at: string, place: Place): string[] {
    const ids = plan.flatMap((node, i) => headsOf(node, `${at}_${i}`));
    const last = plan.at(-1)?.is === "leaf" ? (ids.at(-1) ?? null) : null;
    let { known } = place;
    let always: readonly string[] | null = null;
    for (const [i, node] of plan.entries()) {
      const own = `${at}_${i}`;
      if (node.is === "skip") {
        const following = ids[ids.indexOf(`skip_${own}`) + 1] ?? null;
        this.#skip(node, own, [following === null ? null : last, following], known);
        // The steps between it and the last one may be skipped.
        always ??= known;
        continue;
      }
      const isLast = i === plan.length - 1;
      known = this.#node(node, own, null, { ...place, known: isLast ? (always ?? known) : known });
    }
    return ids;
  }

  #node(node: Node, at: string, next: Target, place: Place): readonly string[] {
    switch (node.is) {
      case "leaf":
        return this.#leaf(node, at, next, place);
      case "choice":
        return this.#choice(node, at, next, place);
      case "cycle":
        return this.#cycle(node, at, next, place);
      case "parallel":
        return this.#parallel(node, at, next, place);
      case "loop":
        return this.#loop(node, at, next, place);
      case "skip":
        return this.#skip(node, at, [next, next], place.known);
    }
  }

  #skip(
    { reads }: Extract<Node, { is: "skip" }>,
    at: string,
    [yes, no]: [Target, Target],
    known: readonly string[],
  ) {
    const if_condition = lengthOf(keyOf(reads, known), "% 2 === 0");
    this.#add(`skip_${at}`, "if_else", yes, { if_condition, if_true_step_id: yes, if_false_step_id: no });
    return known;
  }

  #choice(node: Extract<Node, { is: "choice" }>, at: string, next: Target, place: Place): readonly string[] {
    const id = `${node.by}_${at}`;
    const key = keyOf(node.reads, place.known);
    const then = headsOf(node.yes[0], `${at}_t_0`)[0] ?? next;
    const otherwise = headsOf(node.no[0], `${at}_e_0`)[0] ?? next;
    switch (node.by) {
      case "if_else":
        this.#add(id, "if_else", next, {
          if_condition: lengthOf(key, "% 2 === 0"),
          if_true_step_id: then,
          if_false_step_id: otherwise,
        });
        break;
      case "switch":
        this.#add(id, "switch", next, {
          switch_expression: lengthOf(key, "% 3"),
          switch_cases: { "0": then, "1": otherwise },
          switch_default_step_id: next,
        });
        break;
      case "evaluator":
        this.#add(id, "evaluator", next, {
          evaluator_prompt: `Which way, after {state.${key}}?`,
          route_map: { left: then, right: otherwise },
          default_route: "right",
        });
    }
    this.sequence(node.yes, `${at}_t`, next, place);
    this.sequence(node.no, `${at}_e`, next, place);
    return place.known;
  }

  #cycle(
    { rounds, body }: Extract<Node, { is: "cycle" }>,
    at: string,
    next: Target,
    place: Place,
  ): readonly string[] {
    const id = `again_${at}`;
    const known = this.sequence(body, at, id, { ...place, inBranch: true });
    this.#add(id, "if_else", next, {
      if_condition: "true",
      if_true_step_id: headsOf(body[0], `${at}_0`)[0] ?? null,
      if_false_step_id: next,
      max_iterations: rounds,
    });
    return known;
  }

  #parallel(
    node: Extract<Node, { is: "parallel" }>,
    at: string,
    next: Target,
    place: Place,
  ): readonly string[] {
    const id = `parallel_${at}`;
    const shared = `shared_${at}`;
    const after = node.merges ? `merge_${at}` : next;
    const isAlone = node.branches.length === 1 || node.concurrency === 1;
    const inside = { ...place, inBranch: true, mayFail: node.collects || (place.mayFail && isAlone) };
    const parallel_branches = node.branches.map(({ isList, plan }, i) => {
      const own = `${at}_${i}`;
      const whole: Plan = node.merges ? [...plan, { is: "leaf", kind: "print", reads: i }] : plan;
      const first = this.steps.length;
      const ids =
        isList && whole.length > 1
          ? this.#list(whole, own, inside)
          : headsOf(plan[0] ?? whole[0], `${own}_0`).slice(0, 1);
      if (!(isList && whole.length > 1)) this.sequence(whole, own, after, inside);
      if (node.merges) this.#rename(first, `print_${own}_${whole.length - 1}`, shared);
      return ids;
    });
    this.#add(id, "parallel", after, { parallel_branches, ...policyOf(node), concurrency: node.concurrency });
    if (!node.merges) return [...place.known, id];
    this.#add(`merge_${at}`, "merge", next, { input_keys: [shared], merge_strategy: "list" });
    return [...place.known, id, `merge_${at}`];
  }

  /** Lets the step, which was added at `first` or later, write another key. */
  #rename(first: number, id: string, output_key: string): void {
    const at = this.steps.findIndex((step, i) => i >= first && step["id"] === id);
    this.steps[at] = { ...this.steps[at], output_key };
  }

  #loop(node: Extract<Node, { is: "loop" }>, at: string, next: Target, place: Place): readonly string[] {
    const id = `loop_${at}`;
    const concurrency = node.over === "items" ? node.concurrency : 1;
    const mayFail = node.collects || (place.mayFail && concurrency === 1);
    const inside = { ...place, inLoop: true, inBranch: true, mayFail };
    const loop_step_ids = this.#list(node.body, at, inside);
    const over = node.over === "items" ? { for_each: "state.items" } : { loop_count: node.concurrency };
    this.#add(id, "loop", next, { loop_step_ids, ...over, ...policyOf(node), concurrency });
    return [...place.known, id];
  }

  #leaf(
    { kind, reads }: Leaf,
    at: string,
    next: Target,
    { known, inLoop, inBranch, mayFail }: Place,
  ): readonly string[] {
    const id = `${kind}_${at}`;
    const key = keyOf(reads, known);
    const prompt = `${id}: {input} {state.${key}}${inLoop ? " {index}" : ""}`;
    const add = (type: string, fields: JsonObject): readonly string[] => {
      this.#add(id, type, next, fields);
      return [...known, id];
    };
    const ask = (fields: JsonObject): readonly string[] =>
      add("human", {
        human_prompt: prompt,
        human_fields: [{ key: "decision", type: "select", options: ["yes", "no"], default: "no" }],
        ...fields,
      });
    switch (kind) {
      case "print":
        return add("print", { print_content: prompt });
      case "transform":
        return add("transform", { transform_code: `result = { by: "${id}", n: ${lengthOf(key, "+ 1")} }` });
      case "llm":
        return add("llm", { prompt_template: prompt, input_keys: [key] });
      case "agent":
      case "lead":
        return add("agent", { agent_id: kind, prompt_template: prompt });
      case "tool":
        return add("tool", { forced_tool: "fetch", input_keys: [key] });
      case "planned_tool":
        return add("tool", { forced_tool: "fetch", prompt_template: prompt });
      case "fails":
        return mayFail ? add("tool", { forced_tool: "fails" }) : add("print", { print_content: prompt });
      case "extract_json":
        return add("extract_json", { input_keys: [key] });
      case "merge":
        return add("merge", { input_keys: [...new Set(["seed", key])], merge_strategy: "dict" });
      case "human_silent":
        return ask({ on_timeout: "default" });
      case "human_routed":
        return ask({ on_timeout: "route", timeout_step_id: next });
      case "human_answered":
        return ask({});
      case "wait":
        this.#add(id, "wait", next, { wait_seconds: 3_600, output_key: null });
        return known;
      case "child":
        return add("orchestration", {
          orchestration_id: "child",
          input: prompt,
          on_child_error: mayFail && reads % 2 === 0 ? "fail" : "continue",
        });
      case "end":
        if (inBranch) return add("print", { print_content: prompt });
        this.#add(id, "end", null, { output_key: null });
        return known;
    }
  }

  #add(id: string, type: string, next_step_id: Target, fields: JsonObject): void {
    const own = { id, type, output_key: id, next_step_id, max_iterations: 50, retry: RETRY };
    this.steps.push({ ...own, ...fields });
  }
}

function policyOf({ collects }: { collects: boolean }): JsonObject {
  return { on_branch_error: collects ? "collect" : "fail_fast" };
}

function keyOf(reads: number, known: readonly string[]): string {
  return known[reads % known.length] ?? "seed";
}

/** An expression over the length of a value's text. */
function lengthOf(key: string, operation: string): string {
  return `JSON.stringify(state.${key}).length ${operation}`;
}
