import { expect, test } from "vitest";
import { parseTemplate } from "../../../worker-node/engine/parse-template.ts";

test("a template is parsed into the same parts each time, in a loop and elsewhere", () => {
  const template = "{item.a}, {state.x.y} and {input}: {state.x.y}";
  for (let times = 0; times < 2; times++) {
    expect(parseTemplate(template, { inLoop: true }).names).toEqual([
      "loop.item.a",
      "state.x.y",
      "input",
      "state.x.y",
    ]);
    const elsewhere = parseTemplate(template, { inLoop: false });
    expect(elsewhere.names).toEqual(["state.x.y", "input", "state.x.y"]);
    expect(elsewhere.literals).toEqual(["{item.a}, ", " and ", ": ", ""]);
    expect(elsewhere.distinct.map(({ name, rootName, times: uses }) => [name, rootName, uses])).toEqual([
      ["input", "input", 1],
      ["state.x.y", "state.x", 2],
    ]);
  }
});

// Fails when the worker keeps each template that it has ever rendered, or parses each one again.
test("a worker keeps the parts of the last 256 short templates, and of no long one", () => {
  const first = parseTemplate("{input} first", { inLoop: false });
  expect(parseTemplate("{input} first", { inLoop: false })).toBe(first);
  for (let i = 0; i < 256; i++) parseTemplate(`{input} ${i}`, { inLoop: false });
  expect(parseTemplate("{input} first", { inLoop: false })).not.toBe(first);

  for (const long of ["x".repeat(5_000), "{input}".repeat(33)]) {
    expect(parseTemplate(long, { inLoop: false })).not.toBe(parseTemplate(long, { inLoop: false }));
    expect(parseTemplate(long, { inLoop: false })).toEqual(parseTemplate(long, { inLoop: false }));
  }
});
