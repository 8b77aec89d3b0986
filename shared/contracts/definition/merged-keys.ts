import { branchesOf, branchOfSteps } from "./branches.ts";
import { limits } from "./fields.ts";
import type { Branch } from "./branches.ts";
import type { ForkStep, Step } from "./step.ts";

/** A step that writes a key of state. `index`: its place among the steps of the definition. */
type Writer = { key: string; step: Step; index: number };

/**
 * The keys that several branches of a parallel step write and that the merge step after it names in `input_keys`. The join
 * makes each of them the list of the branches' values, in the order of the branches, and the merge takes each value. Any
 * other key may be written by one branch only: else the value would depend on which branch ends last.
 */
export function mergedKeys(fork: ForkStep, steps: readonly Step[]): string[] {
  if (fork.type !== "parallel") return [];
  const next = steps.find(({ id }) => id === stepAfter(fork, steps));
  if (next?.type !== "merge") return [];
  const branches = branchesOf(fork, steps).map((branch) => keysOf(branch, steps));
  const isShared = (key: string) => branches.filter((keys) => keys.has(key)).length > 1;
  return [...new Set(next.input_keys)].filter(isShared);
}

/** The keys that the steps of a loop write, each once: after the loop each is a list. */
export function listedKeys(fork: ForkStep, steps: readonly Step[]): string[] {
  if (fork.type !== "loop") return [];
  return [...new Set(branchesOf(fork, steps).flatMap((body) => [...keysOf(body, steps)]))];
}

/** The step in each branch that writes a key, the first of them; undefined for a branch that does not write it. */
export function writersOf(fork: ForkStep, key: string, steps: readonly Step[]): (Step | undefined)[] {
  return branchesOf(fork, steps).map(
    (branch) => writersIn(branch, steps).find((writer) => writer.key === key)?.step,
  );
}

/**
 * The steps of a branch that write a key, those of branches inside it included. `depth` bounds the search when two steps are
 * in branches of each other.
 */
export function writersIn(branch: Branch, steps: readonly Step[], depth = 0): Writer[] {
  if (depth > limits.nesting) return [];
  return branch.steps.flatMap((id) => {
    const index = steps.findIndex((step) => step.id === id);
    const step = steps[index];
    if (step === undefined) return [];
    const own = step.output_key === null ? [] : [{ key: step.output_key, step, index }];
    return [...own, ...branchesOf(step, steps).flatMap((inner) => writersIn(inner, steps, depth + 1))];
  });
}

function keysOf(branch: Branch, steps: readonly Step[]): Set<string> {
  return new Set(writersIn(branch, steps).map(({ key }) => key));
}

/** The step that a track does after `fork`: in a list the next one of the list. */
function stepAfter(fork: ForkStep, steps: readonly Step[]): string | null | undefined {
  const around = branchOfSteps(steps).get(fork.id);
  return around?.isList ? around.steps[around.steps.indexOf(fork.id) + 1] : fork.next_step_id;
}
