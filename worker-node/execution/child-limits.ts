import type { NewChild } from "../../shared/store/runs/start-child.ts";
import type { ExecutionState, Visit } from "./execution-state.ts";

/** What the run has cost in this life, in micro-dollars, visits under way included. */
export function spentBy({ spending, progress }: ExecutionState): number {
  return [...spending].reduce((sum, visitCost) => sum + visitCost(), progress.costMicroUsd);
}

/** What the run has left for a child that starts now: a child may use no more than its parent could. */
export function limitsOfChild({
  state,
  scope,
}: Visit): Pick<NewChild, "cost_limit_micro_usd" | "time_limit_ms"> {
  const { max_total_cost_usd: limit } = scope.definition;
  const time_limit_ms = Math.max(1, Math.round(scope.endsAtMs - performance.now()));
  if (limit === null) return { cost_limit_micro_usd: null, time_limit_ms };
  const left = Math.floor(limit * 1_000_000 - spentBy(state));
  return { cost_limit_micro_usd: Math.max(1, left), time_limit_ms };
}
