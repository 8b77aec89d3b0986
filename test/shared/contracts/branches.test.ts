import { describe, expect, test } from "vitest";
import {
  layOut,
  parseNewOrchestration,
  parseOrchestration,
} from "../../../shared/contracts/definition/index.ts";

type Fields = { [field: string]: unknown };

const print = (id: string, fields: Fields = {}): Fields => ({
  id,
  type: "print",
  print_content: "x",
  ...fields,
});
const parallel = (id: string, branches: string[][], fields: Fields = {}): Fields => ({
  id,
  type: "parallel",
  parallel_branches: branches,
  ...fields,
});
const loop = (id: string, body: string[], fields: Fields = {}): Fields => ({
  id,
  type: "loop",
  loop_step_ids: body,
  ...fields,
});
const ifElse = (id: string, yes: string | null, no: string | null): Fields => ({
  id,
  type: "if_else",
  if_condition: "true",
  if_true_step_id: yes,
  if_false_step_id: no,
});

function parse(...steps: Fields[]) {
  return parseOrchestration({ id: "o", name: "O", entry_step_id: "a", steps });
}

function errorsOf(...steps: Fields[]): [string, string][] {
  const parsed = parse(...steps);
  return parsed.ok ? [] : parsed.errors.map(({ path, message }) => [path, message]);
}

describe("the branches of a definition", () => {
  test.each<[string, Fields[]]>([
    [
      "lists, and single steps that are followed to the step after the parallel step",
      [
        parallel("a", [["x"], ["y", "z"]], { next_step_id: "m" }),
        print("x", { next_step_id: "x2" }),
        print("x2", { next_step_id: "m" }),
        print("y", { next_step_id: "m" }),
        print("z"),
        print("m"),
      ],
    ],
    [
      "decisions inside of a branch, and to its end",
      [
        parallel("a", [["c"], ["y"]], { next_step_id: "m" }),
        ifElse("c", "x", "m"),
        print("x"),
        print("y"),
        print("m"),
      ],
    ],
    [
      "a loop in a branch, and branches in a loop",
      [
        parallel("a", [["l"], ["y"]]),
        loop("l", ["p"]),
        parallel("p", [["u"], ["v"]]),
        print("u"),
        print("v"),
        print("y"),
      ],
    ],
    [
      "the same key in two iterations",
      [loop("a", ["x", "y"]), print("x", { output_key: "k" }), print("y", { output_key: "k" })],
    ],
  ])("may be %s", (_name, steps) => {
    expect(errorsOf(...steps)).toEqual([]);
  });

  test.each<[string, Fields[], string, string]>([
    [
      "a step in two branches",
      [parallel("a", [["x"], ["y", "x"]]), print("x"), print("y")],
      "steps[0].parallel_branches[1][0]",
      '"x" is in branch 0 of "a" too: a step must belong to one branch',
    ],
    [
      "branches that meet in a step that is not the one after the parallel step",
      [
        parallel("a", [["x"], ["y"]], { next_step_id: "m" }),
        print("x", { next_step_id: "j" }),
        print("y", { next_step_id: "j" }),
        print("j", { next_step_id: "m" }),
        print("m"),
      ],
      "steps[0].parallel_branches[1][0]",
      '"j" is in branch 0 of "a" too: a step must belong to one branch',
    ],
    [
      "a branch that begins with the step after the parallel step",
      [parallel("a", [["m"], ["y"]], { next_step_id: "m" }), print("y"), print("m")],
      "steps[0].parallel_branches[0][0]",
      "a branch needs a step of its own",
    ],
    [
      "a step outside that leads into a branch",
      [parallel("a", [["x"], ["y"]], { next_step_id: "m" }), print("x"), print("y"), ifElse("m", "x", null)],
      "steps[3].if_true_step_id",
      '"x" belongs to branch 0 of "a": only "a" leads there',
    ],
    [
      "a decision that leads out of a list",
      [
        loop("a", ["c", "x"], { next_step_id: "m" }),
        ifElse("c", "e", null),
        print("x"),
        print("m", { next_step_id: "e" }),
        print("e"),
      ],
      "steps[1].if_true_step_id",
      'leads out of the body of "a" to "e": in a list, a target is one of its steps, null for the next of them, or the step after "a"',
    ],
    [
      "an end in a branch",
      [parallel("a", [["x"], ["y"]]), print("x"), { id: "y", type: "end" }],
      "steps[2].type",
      'an end step ends the run, and "y" is in branch 1 of "a"',
    ],
    [
      "a key that two branches write",
      [parallel("a", [["x"], ["y"]]), print("x", { output_key: "k" }), print("y", { output_key: "k" })],
      "steps[2].output_key",
      'branch 0 of "a" and branch 1 of "a" both write "k"',
    ],
    [
      "a key that a branch and a loop in another branch write",
      [
        parallel("a", [["x"], ["l"]]),
        print("x", { output_key: "k" }),
        loop("l", ["y"]),
        print("y", { output_key: "k" }),
      ],
      "steps[3].output_key",
      'both write "k"',
    ],
    [
      "rounds of a loop at the same time",
      [loop("a", ["x"], { concurrency: 2 }), print("x")],
      "steps[0].concurrency",
      "must be 1 without for_each",
    ],
    [
      "steps that hold each other",
      [print("a"), parallel("p", [["q", "x"]]), parallel("q", [["p", "y"]]), print("x"), print("y")],
      "steps[1]",
      "is inside more than",
    ],
    [
      "five of them inside each other",
      [loop("a", ["b"]), loop("b", ["c"]), loop("c", ["d"]), loop("d", ["e"]), loop("e", ["x"]), print("x")],
      "steps[4]",
      "is inside more than 3 other parallel and loop steps",
    ],
  ])("may not be %s", (_name, steps, path, message) => {
    expect(errorsOf(...steps)).toContainEqual([path, expect.stringContaining(message)]);
  });

  // Fails when the save accepts it: each run would fail in its first iteration.
  test("may read an item only inside of a loop with for_each, however far around it", () => {
    const newErrorsOf = (...steps: Fields[]) => {
      const read = parseNewOrchestration({ id: "o", name: "O", entry_step_id: "a", steps });
      return read.ok ? [] : read.errors.map(({ path, message }) => [path, message]);
    };
    const reading = print("x", { print_content: "{index}: { item.name }" });
    expect(newErrorsOf(loop("a", ["x"]), reading)).toEqual([
      [
        "steps[1].print_content",
        'reads { item.name }, which no iteration has: give a loop around "x" a for_each, or read {index}',
      ],
    ]);
    expect(newErrorsOf(loop("a", ["x"], { for_each: "state.list" }), reading)).toEqual([]);
    const inner = loop("b", ["x"]);
    expect(newErrorsOf(loop("a", ["b"], { for_each: "state.list" }), inner, reading)).toEqual([]);
    // Outside of loops it is plain text.
    expect(newErrorsOf(print("a", { print_content: "{item.name}" }))).toEqual([]);
  });

  // Fails when a merge of other keys allows branches to write the same key.
  test("may write the same key if the merge after them takes it, and only then", () => {
    const merge = (...input_keys: string[]) => ({ id: "m", type: "merge", input_keys });
    const branches = [print("x", { output_key: "k" }), print("y", { output_key: "k" })];
    const fan = parallel("a", [["x"], ["y"]], { next_step_id: "m" });
    expect(errorsOf(fan, ...branches, merge("k"))).toEqual([]);
    const inList = parallel("p", [["x"], ["y"]]);
    expect(errorsOf(loop("a", ["p", "m"]), inList, ...branches, merge("k"))).toEqual([]);
    expect(
      errorsOf(fan, ...branches, { ...merge("j"), next_step_id: "n" }, print("n", { output_key: "j" })),
    ).toContainEqual([
      "steps[2].output_key",
      expect.stringContaining('let a merge step with "k" in its input_keys follow "a"'),
    ]);
  });

  test("have edges that lead where their tracks go", () => {
    const parsed = parse(
      parallel("a", [["c"], ["y", "z"]], { next_step_id: "m" }),
      ifElse("c", "x", "m"),
      print("x", { next_step_id: "m" }),
      print("y", { next_step_id: "m" }),
      print("z"),
      print("m"),
    );
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
    const { steps } = layOut(parsed.definition);
    expect(steps.find(({ id }) => id === "c")).toMatchObject({
      if_true_step_id: "x",
      if_false_step_id: null,
    });
    const nextOf = Object.fromEntries(steps.map(({ id, next_step_id }) => [id, next_step_id]));
    expect(nextOf).toMatchObject({ a: "m", x: null, y: "z", z: null });
  });
});
