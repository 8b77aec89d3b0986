import { describe, expect, test } from "vitest";
import { findJson } from "../../../worker-node/engine/find-json.ts";
import { renderTemplate } from "../../../worker-node/engine/render-template.ts";
import { fakeContext } from "./context.ts";

const reference = { $ref: "big", size: 5, content_type: "text/plain", preview: "lo" };

describe("a template", () => {
  test.each([
    ["{input} and {state.name}", "the message and Jo"],
    ["{state.user.address.city} {state.list.1}", "Rome b"],
    ["{state.n} {state.no} {state.none} {state.user.tags}", '7 false  ["x"]'],
    ['{"json": {state.n}} {other} {state.} {}', '{"json": 7} {other} {state.} {}'],
    ["{state.big}", "long {state.name}"],
    ["{state.trap}", "{state.name}"],
  ])("%s", async (template, rendered) => {
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

describe("JSON in text", () => {
  test.each([
    ['{"a": 1}', [{ a: 1 }]],
    ["  [1, 2] ", [[1, 2]]],
    ['Here:\n```json\n{"a": 1}\n```\nand\n```\n[2]\n```', [{ a: 1 }, [2]]],
    ['It is {"a": "}{", "b": {"c": []}} as I said, or [1].', [{ a: "}{", b: { c: [] } }, [1]]],
    ['[see](http://x) {not json} {"ok": true}', [{ ok: true }]],
    ["no JSON at all {", []],
    ["", []],
  ])("%s", (text, values) => {
    expect(findJson(text)).toEqual(values);
  });

  test("is given up soon in text full of open brackets", () => {
    const startedAt = performance.now();
    expect(findJson("{".repeat(200_000))).toEqual([]);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });
});
