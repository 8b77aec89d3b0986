/** Children of runs: each is started once, none outlives a parent that waits for it, and its usage counts in the parent. */
import { TERMINAL } from "../../../shared/contracts/run.ts";
import type { Evidence, RunRow } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

/** docs/protocol.md 5.15: a wait of a run starts one child, and each child has a parent. */
export function eachWaitStartsOneChild({ runs }: Evidence): Violation[] {
  const promise = "a child is started once";
  const known = new Set(runs.map(({ run_id }) => run_id));
  const children = runs.filter(isChild);
  const byWait = Map.groupBy(children, (child) => `${child.parent_run_id} ${child.parent_wait_id}`);
  const startedTwice = Array.from(byWait)
    .filter(([, started]) => started.length > 1)
    .map(([wait, started]) =>
      broken(promise, `${wait} started ${started.length} runs`, started[0]?.parent_run_id),
    );
  const orphans = children
    .filter(({ parent_run_id }) => !known.has(parent_run_id ?? ""))
    .map(({ run_id }) => broken(promise, "the run that started it does not exist", run_id));
  return [...startedTwice, ...orphans];
}

/** docs/protocol.md 5.15: a parent that waited for a child has the child's usage as one call with the same sums. */
export function childrenAreChargedOnce({ runs, usage }: Evidence): Violation[] {
  const promise = "the usage of a child is in that of its parent";
  const charged = Map.groupBy(
    usage.filter(({ call }) => call.startsWith("child.")),
    ({ run_id, call }) => `${run_id} ${call.slice("child.".length)}`,
  );
  return runs.filter(isChild).flatMap((child) => {
    const calls = charged.get(`${child.parent_run_id} ${child.run_id}`) ?? [];
    const parent = runs.find(({ run_id }) => run_id === child.parent_run_id);
    if (calls.length > 1) return [broken(promise, `it is charged ${calls.length} times`, child.run_id)];
    const [call] = calls;
    if (call === undefined) {
      // A parent that was cancelled or failed no longer waited.
      if (parent?.status !== "completed") return [];
      return [broken(promise, "its parent has completed, and was not charged for it", child.run_id)];
    }
    return call.tokens === child.tokens && call.cost_micro_usd === child.cost_micro_usd
      ? []
      : [broken(promise, `it used ${child.tokens} tokens, its parent paid ${call.tokens}`, child.run_id)];
  });
}

/** A parent that has completed had the ends of its children. */
export function childrenEndBeforeTheirParents({ runs }: Evidence): Violation[] {
  const byId = new Map(runs.map((run) => [run.run_id, run]));
  return runs.filter(isChild).flatMap(({ run_id, status, parent_run_id }) => {
    const parent = byId.get(parent_run_id ?? "");
    if (parent?.status !== "completed" || TERMINAL.has(status)) return [];
    return [
      broken("a parent waits for its children", `its parent has completed, and it is ${status}`, run_id),
    ];
  });
}

const isChild = ({ parent_run_id }: RunRow): boolean => parent_run_id !== null;
