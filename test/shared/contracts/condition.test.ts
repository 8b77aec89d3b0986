import { describe, expect, test } from "vitest";
import { nestingOf, scriptOf } from "../../../shared/contracts/definition/condition.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const squeezed = (text: string): string => text.replaceAll(/\s+/g, "");

describe("a condition", () => {
  test.each([
    ["a and b or not c", "a&&b||!(c)"],
    ["not not a", "!(!(a))"],
    ["x in y", "__in(x,y)"],
    ["x not in y and (not (z is not None))", "!__in(x,y)&&(!((!__is(z,None))))"],
    ["f(a in b, c is None)", "f(__in(a,b),__is(c,None))"],
    ["not x in [1, 2] or 'a and b'", "!(__in(x,[1,2]))||'aandb'"],
    ["state.x == `a ${1} in b`", "state.x==`a${1}inb`"],
    ["state.and_more && state['in']", "state.and_more&&state['in']"],
  ])("%s", (python, javascript) => {
    expect(squeezed(scriptOf(python).script)).toBe(`(${javascript})`);
  });

  test.each([
    `${"(".repeat(20_000)} and 1`,
    `${"(1 and ".repeat(5_000)}1${")".repeat(5_000)}`,
    `"${'\\"'.repeat(30_000)}`,
    `'${"\\'".repeat(30_000)} and 1`,
    `${"not ".repeat(15_000)}1`,
    `1${" in 1".repeat(10_000)}`,
    `${"a and ".repeat(10_000)}1`,
  ])("is converted in linear time: %.12s", (condition) => {
    const startedAt = cpuMs();
    for (let i = 0; i < 10; i++) scriptOf(condition);
    expect(cpuMs() - startedAt).toBeLessThan(2_000);
  });

  test("is as deep as its brackets, and brackets in strings do not count", () => {
    expect(nestingOf("f([{a: (1)}]) + (2)")).toBe(4);
    expect(nestingOf("')(([' + \"((\" + `[[`")).toBe(0);
    expect(nestingOf(")))((")).toBe(2);
  });
});

// Fails when an error in a converted condition is reported at its place in the JavaScript that was made of it.
test("a place in the script leads back to the place in the condition", () => {
  for (const condition of [
    "a and b or @c",
    "x in @y",
    "not (a is not @c)",
    "f(a in b,\n @) and 1",
    "a.b + @",
  ]) {
    const { script, offsetOf } = scriptOf(condition);
    expect(offsetOf(script.indexOf("@"))).toBe(condition.indexOf("@"));
    expect(offsetOf(script.length - 1)).toBe(condition.length);
    expect(offsetOf(0)).toBe(0);
  }
});
