import type { Step } from "./step.ts";

/** An edge from one step to another: the target, and the field that names it. */
type Edge = { field: string; target: string };

/** All edges that leave a step, those into its own branches included. */
export function edgesOf(step: Step): Edge[] {
  return [...entriesOf(step), ...exitsOf(step)];
}

/** The edges along which a track goes on after a step. */
export function exitsOf(step: Step): Edge[] {
  if (step.type === "end") return [];
  return [...routesOf(step), ...edge("next_step_id", step.next_step_id)];
}

/** The edges into the branches of a step that divides the run, or into the body of a loop. */
function entriesOf(step: Step): Edge[] {
  switch (step.type) {
    case "parallel":
      return step.parallel_branches.flatMap((branch, i) =>
        branch.map((target, k) => ({ field: `parallel_branches[${i}][${k}]`, target })),
      );
    case "loop":
      return step.loop_step_ids.map((target, i) => ({ field: `loop_step_ids[${i}]`, target }));
    default:
      return [];
  }
}

/** The edges that a step chooses among. */
export function routesOf(step: Step): Edge[] {
  switch (step.type) {
    case "evaluator":
      return edgesOfTable("route_map", step.route_map);
    case "human":
      return edge("timeout_step_id", step.timeout_step_id);
    case "if_else":
      return [
        ...edge("if_true_step_id", step.if_true_step_id),
        ...edge("if_false_step_id", step.if_false_step_id),
      ];
    case "switch":
      return [
        ...edgesOfTable("switch_cases", step.switch_cases),
        ...edge("switch_default_step_id", step.switch_default_step_id),
      ];
    default:
      return [];
  }
}

const edge = (field: string, target: string | null | undefined): Edge[] =>
  target === null || target === undefined ? [] : [{ field, target }];

function edgesOfTable(field: string, table: Readonly<Record<string, string | null>>): Edge[] {
  return Object.entries(table).flatMap(([label, target]) => edge(`${field}.${label}`, target));
}
