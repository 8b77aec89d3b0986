import { describe, expect, test } from "vitest";
import { renderTemplate } from "../../../worker-node/engine/render-template.ts";
import { fakeContext, run, step } from "./context.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const reference = { $ref: "big", size: 5, content_type: "text/plain", preview: "lo" };

describe("a template", () => {
  test.each([
    ["{input} and {state.name}", "the message and Jo"],
    ["{state.user.address.city} {state.list.1}", "Rome b"],
    ["{state.n} {state.no} {state.none} {state.user.tags}", '7 false  ["x"]'],
    ['{"json": {state.n}} {other} {state.} {}', '{"json": 7} {other} {state.} {}'],
    ["{state.big}", "long {state.name}"],
    ["{state.trap}", "{state.name}"],
  ])("%s is rendered", async (template, rendered) => {
    const { context } = fakeContext({
      state: {
        name: "Jo",
        user: { address: { city: "Rome" }, tags: ["x"] },
        list: ["a", "b"],
        n: 7,
        no: false,
        none: null,
        big: reference,
        trap: "{state.name}",
      },
      blobs: { big: "long {state.name}" },
    });
    expect(await renderTemplate(template, context)).toBe(rendered);
  });

  test.each(["{state.gone}", "{state.name.first}", "{state.constructor}", "{state.__proto__}"])(
    "that reads %s fails",
    async (template) => {
      await expect(
        renderTemplate(template, fakeContext({ state: { name: "Jo" } }).context),
      ).rejects.toMatchObject({
        code: "template",
      });
    },
  );
});

describe("a rendered text", () => {
  const message = "x".repeat(1_000_000);
  const big = { list: Array.from({ length: 60_000 }, (_, i) => `item ${i}`) };

  test.each([
    ["{input}".repeat(500), {}],
    ["{state.big}".repeat(9_000), { big }],
    ["{state.big.list}{input}", { big }],
    ["é{input}", {}, "é".repeat(524_288)],
  ])(
    "that would be longer than 1 MiB is refused before it is made",
    async (template, state, text = message) => {
      const before = process.memoryUsage();
      const startedAt = cpuMs();
      await expect(
        renderTemplate(template, fakeContext({ state, message: text }).context),
      ).rejects.toMatchObject({ name: "TerminalError", code: "template" });
      expect(cpuMs() - startedAt).toBeLessThan(1_000);
      const after = process.memoryUsage();
      expect(after.heapUsed + after.external - before.heapUsed - before.external).toBeLessThan(
        64 * 1024 * 1024,
      );
    },
  );

  test("has a large value, which is loaded once for many placeholders", async () => {
    let loads = 0;
    const { context } = fakeContext({ state: { big: reference, n: 1 }, blobs: { big: { a: 1, b: 2 } } });
    const load = async (value: Json): Promise<Json> => {
      if (typeof value === "object" && value !== null && "$ref" in value) loads += 1;
      return context.load(value);
    };
    const template = "{state.big.a}{state.n}{state.big.b}".repeat(500);
    expect(await renderTemplate(template, { ...context, load })).toBe("112".repeat(500));
    expect(loads).toBe(1);
  });

  test("may be as long as 1 MiB, to the byte", async () => {
    const { context } = fakeContext({ message: "x".repeat(1024 * 1024 - 2) });
    expect(await renderTemplate("{input}yz", context)).toHaveLength(1024 * 1024);
    await expect(renderTemplate("{input}xyz", context)).rejects.toMatchObject({ code: "template" });
  });

  test.each(["llm", "evaluator", "agent", "tool"])(
    "that would be longer than 1 MiB is no prompt of a step of type %s",
    async (type) => {
      const inputs = Array.from({ length: 30 }, (_, i) => `k${i}`);
      const { context, modelCalls } = fakeContext({
        state: Object.fromEntries(inputs.map((key) => [key, message.slice(0, 40_000)])),
        agents: { a: { id: "a", name: "A" } },
        tools: { search: () => "x" },
        answers: ["never used"],
      });
      const fields = { type, prompt_template: "go", input_keys: inputs, route_map: { a: null } };
      const running = run(step({ ...fields, agent_id: "a", forced_tool: "search" }), context);
      await expect(running).rejects.toMatchObject({ name: "TerminalError", code: "template" });
      expect(modelCalls).toEqual([]);
    },
  );
});
