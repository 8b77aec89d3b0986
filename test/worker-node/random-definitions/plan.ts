/** Plans of orchestrations: random trees of steps, from which `definition.ts` makes definitions that are valid by construction. */
import fc from "fast-check";
import type { Arbitrary } from "fast-check";

/** The steps without branches, by what they do in the test; `fails` permanently, where its failure has one outcome only. */
const LEAVES = [
  "print",
  "transform",
  "llm",
  "agent",
  "lead",
  "tool",
  "planned_tool",
  "extract_json",
  "merge",
  "human_silent",
  "human_routed",
  "human_answered",
  "wait",
  "child",
  "fails",
  "end",
] as const;
export type LeafKind = (typeof LEAVES)[number];

/** `reads`: which of the keys that are set before the step it reads. */
export type Leaf = { is: "leaf"; kind: LeafKind; reads: number };
/** Goes one of two ways, and both meet again. */
type Choice = {
  is: "choice";
  by: "if_else" | "switch" | "evaluator";
  reads: number;
  yes: Plan;
  no: Plan;
};
/** Goes back to its first step until a limit ends it. */
type Cycle = { is: "cycle"; rounds: number; body: Plan };
/** Goes to the end of the list, or on to its next step. Only lists have it. */
type Skip = { is: "skip"; reads: number };
type Policy = { collects: boolean; concurrency: number };
/** `merges`: each branch writes the same key, and a merge step follows. */
type Parallel = { is: "parallel"; branches: Branch[]; merges: boolean } & Policy;
type Loop = { is: "loop"; over: "count" | "items"; body: Plan } & Policy;
export type Node = Leaf | Choice | Cycle | Skip | Parallel | Loop;
export type Plan = Node[];
/** `isList`: its steps are named one by one, in their order; else it is followed from its first step. */
type Branch = { isList: boolean; plan: Plan };

const reads = fc.nat(20);
const leaf: Arbitrary<Node> = fc.record({
  is: fc.constant("leaf"),
  kind: fc.oneof(
    {
      weight: 9,
      arbitrary: fc.constantFrom(...LEAVES.filter((leafKind) => leafKind !== "fails" && leafKind !== "end")),
    },
    { weight: 1, arbitrary: fc.constantFrom<LeafKind>("fails", "end") },
  ),
  reads,
});
const policy = {
  collects: fc.boolean(),
  concurrency: fc.integer({ min: 1, max: 3 }),
};

/** @param depth how many choices, cycles and forks may be inside each other */
function nodes(depth: number, isList: boolean): Arbitrary<Node> {
  if (depth === 0) return leaf;
  const list = planOf(depth - 1, true);
  const sequence = planOf(depth - 1, false);
  const branch: Arbitrary<Branch> = fc.oneof(
    fc.record({ isList: fc.constant(true), plan: list }),
    fc.record({ isList: fc.constant(false), plan: sequence }),
  );
  const forks: Arbitrary<Node>[] = [
    fc.record({
      is: fc.constant("parallel"),
      branches: fc.array(branch, { minLength: 1, maxLength: 3 }),
      merges: fc.boolean(),
      ...policy,
    }),
    fc.record({ is: fc.constant("loop"), over: fc.constantFrom("count", "items"), body: list, ...policy }),
  ];
  const others: Arbitrary<Node>[] = isList
    ? [fc.record({ is: fc.constant("skip"), reads })]
    : [
        fc.record({
          is: fc.constant("choice"),
          by: fc.constantFrom("if_else", "switch", "evaluator"),
          reads,
          yes: fc.array(nodes(depth - 1, false), { maxLength: 2 }),
          no: fc.array(nodes(depth - 1, false), { maxLength: 2 }),
        }),
        fc.record({ is: fc.constant("cycle"), rounds: fc.integer({ min: 1, max: 3 }), body: sequence }),
      ];
  return fc.oneof(
    { weight: 5, arbitrary: leaf },
    ...[...forks, ...others].map((arbitrary) => ({ weight: 2, arbitrary })),
  );
}

function planOf(depth: number, isList: boolean): Arbitrary<Plan> {
  return fc.array(nodes(depth, isList), { minLength: 1, maxLength: 3 });
}

/** A whole orchestration. Few are deep: they have hundreds of steps to execute. */
export const anyPlan: Arbitrary<Plan> = fc.oneof(
  { weight: 4, arbitrary: planOf(2, false) },
  { weight: 1, arbitrary: planOf(3, false) },
);
