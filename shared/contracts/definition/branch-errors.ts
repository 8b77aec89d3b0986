import { branchesOf, branchOfSteps } from "./branches.ts";
import { exitsOf, routesOf } from "./edges.ts";
import { limits } from "./fields.ts";
import { mergedKeys, writersIn } from "./merged-keys.ts";
import { isFork } from "./step.ts";
import type { FieldError } from "../../errors.ts";
import type { Branch } from "./branches.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { ForkStep, Step } from "./step.ts";

/**
 * The errors in the branches of parallel steps and the bodies of loops: a step belongs to one branch at most, and an edge
 * leads into a branch or out of it only where the branch begins or ends.
 */
export function branchErrors({ steps, entry_step_id }: OrchestrationDocument): FieldError[] {
  const forks = steps.filter(isFork);
  if (forks.length === 0) return [];
  const shared = sharedSteps(forks, steps);
  // The other rules need the one branch of each step.
  if (shared.length > 0) return shared;
  const owners = branchOfSteps(steps);
  return steps.flatMap((step, index) => [
    ...leavingEdges(step, `steps[${index}]`, owners),
    ...endInBranch(step, `steps[${index}]`, owners),
    ...nestingErrors(step, `steps[${index}]`, owners),
    ...entryInBranch(step, entry_step_id, owners),
    ...keysWrittenTwice(step, steps),
    ...loopErrors(step, `steps[${index}]`),
  ]);
}

/** So many steps of two branches are enough: the branches of further forks are not followed, and each may lead to all steps. */
const MAX_SHARED = 20;

/** Steps that belong to two branches, or twice to one. */
function sharedSteps(forks: readonly ForkStep[], steps: readonly Step[]): FieldError[] {
  const owners = new Map<string, Branch>();
  const errors: FieldError[] = [];
  for (const fork of forks) {
    for (const branch of branchesOf(fork, steps)) errors.push(...sharedIn(branch, owners, steps));
    if (errors.length >= MAX_SHARED) break;
  }
  return errors.slice(0, MAX_SHARED);
}

/** The steps of this branch that `owners` has already. It gets those of this branch. */
function sharedIn(branch: Branch, owners: Map<string, Branch>, steps: readonly Step[]): FieldError[] {
  const path = `steps[${steps.indexOf(branch.fork)}].${branch.field}`;
  const own = branch.steps.includes(branch.fork.id)
    ? [{ path, message: `leads back to "${branch.fork.id}", the step that the branch belongs to` }]
    : [];
  const twice = branch.steps.flatMap((id) => {
    const other = owners.get(id);
    owners.set(id, branch);
    if (other === undefined) return [];
    const where = other === branch ? `twice in ${nameOf(branch)}` : `in ${nameOf(other)} too`;
    return [{ path, message: `"${id}" is ${where}: a step must belong to one branch` }];
  });
  // A list without a step is refused before: `missingFields`.
  const none = branch.steps.length === 0 && !branch.isList ? [{ path, message: emptyBranch(branch) }] : [];
  return [...own, ...twice, ...none];
}

function emptyBranch({ fork, index }: Branch): string {
  return `branch ${index} begins with "${fork.next_step_id}", the step after "${fork.id}": a branch needs a step of its own`;
}

function nameOf({ fork, index }: Branch): string {
  return fork.type === "loop" ? `the body of "${fork.id}"` : `branch ${index} of "${fork.id}"`;
}

/** Edges that lead into a branch from outside, or out of it to anything but the step after it. */
function leavingEdges(step: Step, path: string, owners: ReadonlyMap<string, Branch>): FieldError[] {
  const own = owners.get(step.id);
  // In a list a step is followed by the next one of the list: its `next_step_id` is not read, only the targets of decisions are.
  const edges = own?.isList ? routesOf(step) : exitsOf(step);
  return edges.flatMap(({ field, target }) => {
    const other = owners.get(target);
    if (other === own || target === own?.fork.next_step_id) return [];
    const at = `${path}.${field}`;
    if (own !== undefined) return [{ path: at, message: leavingError(own, target) }];
    if (other === undefined) return [];
    return [
      { path: at, message: `"${target}" belongs to ${nameOf(other)}: only "${other.fork.id}" leads there` },
    ];
  });
}

function leavingError(branch: Branch, target: string): string {
  const after = `the step after "${branch.fork.id}"`;
  const rule = branch.isList
    ? `in a list, a target is one of its steps, null for the next of them, or ${after}, which ends the branch`
    : `a branch ends where a target is null or ${after}`;
  return `leads out of ${nameOf(branch)} to "${target}": ${rule}`;
}

function endInBranch(step: Step, path: string, owners: ReadonlyMap<string, Branch>): FieldError[] {
  const own = owners.get(step.id);
  if (step.type !== "end" || own === undefined) return [];
  return [
    {
      path: `${path}.type`,
      message: `an end step ends the run, and "${step.id}" is in ${nameOf(own)}: let the step before it have no next_step_id`,
    },
  ];
}

function nestingErrors(step: Step, path: string, owners: ReadonlyMap<string, Branch>): FieldError[] {
  if (!isFork(step)) return [];
  let depth = 1;
  for (let own = owners.get(step.id); own !== undefined && depth <= limits.nesting; depth++) {
    own = owners.get(own.fork.id);
  }
  if (depth <= limits.nesting) return [];
  return [{ path, message: `is inside more than ${limits.nesting - 1} other parallel and loop steps` }];
}

function entryInBranch(step: Step, entry: string, owners: ReadonlyMap<string, Branch>): FieldError[] {
  const own = owners.get(entry);
  if (step.id !== entry || own === undefined) return [];
  return [
    { path: "entry_step_id", message: `"${entry}" belongs to ${nameOf(own)}: a run cannot begin there` },
  ];
}

/** Keys that two branches of a parallel step write, and that no merge step takes from both. */
function keysWrittenTwice(step: Step, steps: readonly Step[]): FieldError[] {
  if (step.type !== "parallel") return [];
  const merged = new Set(mergedKeys(step, steps));
  const writers = new Map<string, Branch>();
  return branchesOf(step, steps).flatMap((branch) =>
    writersIn(branch, steps).flatMap(({ key, index }) => {
      const other = writers.get(key) ?? branch;
      writers.set(key, other);
      if (other === branch || merged.has(key)) return [];
      const message =
        `${nameOf(other)} and ${nameOf(branch)} both write "${key}": give them different keys, or let a merge step with ` +
        `"${key}" in its input_keys follow "${step.id}"`;
      return [{ path: `steps[${index}].output_key`, message }];
    }),
  );
}

function loopErrors(step: Step, path: string): FieldError[] {
  if (step.type !== "loop" || step.for_each !== null || (step.concurrency ?? 1) === 1) return [];
  const message = "must be 1 without for_each: each iteration goes on with the state of the one before it";
  return [{ path: `${path}.concurrency`, message }];
}
