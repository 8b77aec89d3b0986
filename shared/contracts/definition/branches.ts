import { exitsOf } from "./edges.ts";
import { isFork } from "./step.ts";
import type { ForkStep, Step } from "./step.ts";

/**
 * A branch of a parallel step, or the body of a loop: the steps that its tracks execute. `isList`: in the order in which the
 * definition names them. Else the definition names the first step, and the branch has all steps that it leads to, up to the
 * step that follows the parallel step.
 */
export type Branch = {
  fork: ForkStep;
  index: number;
  /** The field that names its first step. */
  field: string;
  isList: boolean;
  /** The ids of its steps, without those of branches inside it. A named step that does not exist is one of them. */
  steps: readonly string[];
};

/**
 * What was found about the steps of a definition, which do not change. A definition has up to 200 forks, and the checks and the
 * executions of each ask about all of them again.
 */
type Found = {
  byId: ReadonlyMap<string, Step>;
  branches: Map<ForkStep, readonly Branch[]>;
  owners: ReadonlyMap<string, Branch> | null;
};
const foundOf = new WeakMap<readonly Step[], Found>();

function foundIn(steps: readonly Step[]): Found {
  const known = foundOf.get(steps);
  if (known !== undefined) return known;
  const found = { byId: new Map(steps.map((step) => [step.id, step])), branches: new Map(), owners: null };
  foundOf.set(steps, found);
  return found;
}

/** The branches of a step, in their order; empty for a step that does not divide the run. */
export function branchesOf(fork: Step, steps: readonly Step[]): readonly Branch[] {
  if (!isFork(fork)) return [];
  const { byId, branches } = foundIn(steps);
  const known = branches.get(fork);
  if (known !== undefined) return known;
  const found = namedBranches(fork).map(({ field, ids }, index) => {
    const isList = fork.type === "loop" || ids.length > 1;
    return { fork, index, field, isList, steps: isList ? ids : followed(ids, fork, byId) };
  });
  branches.set(fork, found);
  return found;
}

/** The steps that the definition names for each branch. A loop has one body. */
function namedBranches(fork: ForkStep): { field: string; ids: readonly string[] }[] {
  return fork.type === "loop"
    ? [{ field: "loop_step_ids[0]", ids: fork.loop_step_ids }]
    : fork.parallel_branches.map((ids, i) => ({ field: `parallel_branches[${i}][0]`, ids }));
}

/** The steps on all paths from `entry`, up to the step that follows `fork`. */
function followed(entry: readonly string[], fork: ForkStep, byId: ReadonlyMap<string, Step>): string[] {
  const reached = new Set<string>();
  const pending = [...entry];
  for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
    if (reached.has(id) || id === fork.next_step_id) continue;
    reached.add(id);
    const step = byId.get(id);
    if (step) pending.push(...exitsOf(step).map(({ target }) => target));
  }
  return [...reached];
}

/** The branch to which each step belongs. A step in no branch belongs to the run's own track, and is not in the table. */
export function branchOfSteps(steps: readonly Step[]): ReadonlyMap<string, Branch> {
  const found = foundIn(steps);
  const branches = () => steps.flatMap((step) => branchesOf(step, steps));
  found.owners ??= new Map(branches().flatMap((branch) => branch.steps.map((id) => [id, branch] as const)));
  return found.owners;
}

/** The step of the run's own track in which a step is executed: the outermost parallel or loop step around it, or itself. */
export function outermostOf(step: string, branches: ReadonlyMap<string, Branch>): string {
  let current = step;
  for (const _ of branches) {
    const branch = branches.get(current);
    if (branch === undefined) break;
    current = branch.fork.id;
  }
  return current;
}

/** The ids of the steps that a loop repeats, also in branches inside it: their code and templates may read `index`. */
export function stepsInLoops(steps: readonly Step[]): Set<string> {
  return stepsInside(steps, ({ type }) => type === "loop");
}

/** The ids of the steps that a loop with `for_each` repeats, also in loops and branches inside it: they may read `item` too. */
export function stepsWithItem(steps: readonly Step[]): Set<string> {
  return stepsInside(steps, (fork) => fork.type === "loop" && fork.for_each !== null);
}

/** The ids of the steps that have a parallel or loop step of this kind around them. */
function stepsInside(steps: readonly Step[], isKind: (fork: ForkStep) => boolean): Set<string> {
  const branches = branchOfSteps(steps);
  const isInside = (id: string): boolean => {
    let branch = branches.get(id);
    for (const _ of branches) {
      if (branch === undefined || isKind(branch.fork)) break;
      branch = branches.get(branch.fork.id);
    }
    return branch !== undefined && isKind(branch.fork);
  };
  return new Set(steps.map(({ id }) => id).filter(isInside));
}
