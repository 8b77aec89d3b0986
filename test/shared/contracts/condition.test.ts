import { describe, expect, test } from "vitest";
import { nestingOf, scriptOf } from "../../../shared/contracts/definition/condition.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const squeezed = (text: string): string => text.replaceAll(/\s+/g, "");

describe("a condition", () => {
  test.each([
    ["a and b or not c", "__value(a)&&__value(b)||!__true(c)"],
    ["not not a", "!__true(!__true(a))"],
    ["x in y", "__in(x,y)"],
    ["x not in y and (not (z is not None))", "!__in(x,y)&&(!__true((!__is(z,None))))"],
    ["f(a in b, c is None)", "f(__in(a,b),__is(c,None))"],
    ["not x in [1, 2] or 'a and b'", "!__true(__in(x,[1,2]))||'aandb'"],
    ["all.some(i => 'x' in i.tags and i.n)", "all.some(i=>__in('x',i.tags)&&i.n)"],
    ["/not in/.test(x) and y", "__value(/notin/.test(x))&&y"],
    ["/yes or no/i.test(x)", "/yesorno/i.test(x)"],
    ["x.match(/[/] and \\/ or/g)", "x.match(/[/]and\\/or/g)"],
    ["a / b in c / d", "__in(a/b,c/d)"],
    ["(a) / 2 > 1 and b / 2 < 3", "__value((a)/2>1)&&b/2<3"],
    ["x > 3 // not in stock", "x>3//notinstock"],
    ["x in y // and so on", "__in(x,y//andsoon)"],
    ["x > 3 /* and so on */ or y", "__value(x>3/*andsoon*/)||y"],
    ["state.x == `a ${1} in b`", "state.x==`a${1}inb`"],
    ["state.and_more && state['in']", "state.and_more&&state['in']"],
    // Fails when the tuple of Python is the comma of JavaScript, whose value is the last one.
    ["x in ('a', 'b')", "__in(x,['a','b'])"],
    ["x not in (1, f(2, 3)) and (y) in (z)", "!__in(x,[1,f(2,3)])&&__in((y),(z))"],
    ["x in ('a',) or x in y(1, 2)", "__in(x,['a',])||__in(x,y(1,2))"],
    // Fails when JavaScript that compiles is made into something else.
    ["(() => { for (const k in m) if (k in n) return 1 })()", "(()=>{for(constkinm)if(__in(k,n))return1})()"],
    [
      "(() => { const ok = x in [1]; ok += y; return not ok })()",
      "(()=>{constok=__in(x,[1]);ok+=y;return!__true(ok)})()",
    ],
    // Fails when the name of a property is taken for a word.
    ["state.in == 1 and not state?.is", "__value(state.in==1)&&!__true(state?.is)"],
    ["state . or", "state.or"],
    ["x.größe_in > 1 and x.ñin", "__value(x.größe_in>1)&&x.ñin"],
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
    "(/".repeat(20_000),
    "[/[".repeat(20_000),
    "/*".repeat(20_000),
    "/**".repeat(20_000),
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
