import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { SANDBOX_NAMES } from "../../../shared/contracts/definition/code-names.ts";
import { mayHaveLongInteger } from "../../../worker-node/engine/exact-integers.ts";
import { createSandbox } from "../../../worker-node/engine/sandbox.ts";

const shared = createSandbox();
const sandbox = shared.of({ tenant: "acme", signal: new AbortController().signal });
afterAll(() => shared.close());
const state = {
  n: 4,
  tags: ["a", "x"],
  user: { name: "Jo" },
  text: "hello",
  nothing: null,
  none: [],
  empty: {},
  get: "own",
};

describe("an expression", () => {
  test.each([
    ["state.n > 3", true],
    ["state['n'] > 3", true],
    ["state.user.name", "Jo"],
    ["state.gone", null],
    ["state.user.get('name') == 'Jo'", true],
    ["state.user.get('gone', 'else')", "else"],
    ["state.n == 4 and state.text == 'hello'", true],
    ["state.text.upper() == 'HELLO' and 'ABC'.lower() == 'abc'", true],
    ["state.text.startswith('he') and state.text.endswith('lo')", true],
    [
      "[' a '.strip(), ' a '.lstrip(), ' a '.rstrip(), 'xyaxbyx'.strip('xy'), 'xxa'.lstrip('x'), 'a]]'.rstrip(']')]",
      ["a", "a ", " a", "axb", "a", "a"],
    ],
    [
      "[state.text.count('l'), 'aaa'.count('aa'), state.tags.count('x'), ['12'.isdigit(), ''.isdigit(), '1.2'.isdigit()]]",
      [2, 1, 1, [true, false, false]],
    ],
    [
      "(() => { const keys = []; for (const key in 'ab'.strip()) keys.push(key); return keys; })()",
      ["0", "1"],
    ],
    // Fails when the methods of Python are there for a program that reads a property of such a name and calls none.
    ["state.tags.count ?? state.tags.length", 2],
    ["state.user.get('name').lower() == 'jo'", true],
    ["state.n == 5 or 'x' in state.tags", true],
    ["not state.n == 5", true],
    ["not (state.n in [1, 4]) or False", false],
    ["'ell' in state.text and 'name' in state.user", true],
    ["'y' not in state.tags", true],
    ["state.nothing is None and state.n is not None", true],
    ["True and not False", true],
    // Fails when an empty list or object is true to a word of Python, or a word in a pattern is taken for one.
    ["not state.none", true],
    ["not state.empty and state.n == 4", true],
    ["state.none or state.empty or 'else'", "else"],
    ["(state.none and state.n) is None", true],
    ["state.n and state.text", "hello"],
    ["not 'y' in state.tags // and not in stock", true],
    ["/not found|yes or no/.test('found') or /black and white/.test('white')", false],
    ["[{ tags: ['x'] }].some((one) => 'x' in one.tags and one.tags)", true],
    ["len(state.tags) >= 2", true],
    ["state.text in ('hello', 'bye')", true],
    ["state.text not in ('hello', 'bye')", false],
    ["len({ length: 5, b: 1 })", 2],
    ["['\\ud83d', '\\ud83d\\ude00', '\\ufffd']", ["\ud83d", "😀", "\ufffd"]],
    ["'\\ud83d'", "\ud83d"],
    ["'a \\u2028 \\0 😀 \"'", 'a \u2028 \0 😀 "'],
    ["-0", 0],
    ["1e-7", 1e-7],
    ["1e21", 1e21],
    ["undefined", null],
    ["int('12') + int(1.9) + int(True)", 14],
    ["float(' 1.5 ')", 1.5],
    ["int(12n)", 12],
    ["len(new Set(state.tags)) + len(new Map([['a', 1]]))", 3],
    [
      "[str(True), str(None), str(state.gone), str([1, 'a']), str(1.5)]",
      ["True", "None", "None", '[1,"a"]', "1.5"],
    ],
    ["'and or not in' === 'and or not in'", true],
    ["state.tags.includes('x') && !state.nothing ? 'yes' : 'no'", "yes"],
    ["Object.keys(state.user)", ["name"]],
    ["(async () => state.n)()", 4],
    // Fails when the `get` of Python's dictionaries is taken for a part of a descriptor.
    ["Object.defineProperty({}, 'a', { value: 1, enumerable: true })", { a: 1 }],
    ["Object.defineProperty({}, 'a', { get: () => 2, enumerable: true })", { a: 2 }],
    ["Object.defineProperties({}, { a: { value: 1, enumerable: true } })", { a: 1 }],
    ["Object.create({}, { a: { value: 1, enumerable: true } })", { a: 1 }],
    ["Reflect.defineProperty({}, 'a', { value: 1 })", true],
  ])("has its value: %s", async (expression, value) => {
    expect(await sandbox.evaluate(expression, state)).toEqual(value);
  });

  test.each([
    ["a name that does not exist", "gone > 3"],
    ["a property of an undefined value", "state.gone.deeper"],
    ["a statement", "while (true) {}"],
    ["no expression at all", ""],
    ["a value that JSON does not have", "1n"],
    ["a result over 1 MiB", "'x'.repeat(2000000)"],
    ["endless recursion", "(f => f(f))(f => f(f))"],
    ["a throw", "(() => { throw {a: 1} })()"],
    ["a value that is not a number", "state.gone + 1"],
    ["a text that is no number", "int(state.text) < 3"],
    ["a number that is missing", "float(state.gone) == 0"],
    ["the number of an empty text", "int('') == 0"],
    ["the length of a number", "len(state.n) == 0"],
    ["a list where a text belongs", "state.text.startswith(['h', 'x'])"],
    ["a number where a text belongs", "state.text.strip(1)"],
    ["a method of texts on a number", "state.n.lower() == 'x'"],
    ["an integer without all its digits", "2 ** 60 + 1"],
    ["no number", "0 / 0"],
    ["a function that is not called", "state.tags.includes"],
    ["a map", "new Map([[1, 2]])"],
    ["brackets that nothing closes", `${"(".repeat(20_000)} and 1`],
    ["brackets without end", `${"(".repeat(20_000)}1${")".repeat(20_000)} and 1`],
    ["a string that nothing closes", `"${'\\"'.repeat(30_000)}`],
  ])("with %s fails, and is not false", async (_, expression) => {
    await expect(sandbox.evaluate(expression, state)).rejects.toMatchObject({
      name: "TerminalError",
      code: "expression",
    });
  });
});

describe("a program", () => {
  test("reads state and sets result, declared or not", async () => {
    expect(await sandbox.transform("result = state.tags.map((t) => t.toUpperCase())", state)).toEqual([
      "A",
      "X",
    ]);
    expect(await sandbox.transform("const len = 1; let result = { len }", state)).toEqual({ len: 1 });
  });

  test("without a result fails, and so does one that throws", async () => {
    await expect(sandbox.transform("let x = 1", state)).rejects.toMatchObject({ code: "transform" });
    await expect(sandbox.transform("throw new Error('boom')", state)).rejects.toThrow("boom");
  });

  test("with a circular value fails, and the error has the path of the circle", async () => {
    const code = "result = { list: [{}] }; result.list[0].all = result.list";
    await expect(sandbox.transform(code, state)).rejects.toThrow(
      "result.list[0].all is an object that holds itself, which JSON cannot hold",
    );
  });

  // Fails when the error of a program that throws a value is about memory, or does not name that value.
  test.each([
    ["throw null", "it threw null"],
    ["throw undefined", "it threw undefined"],
    ["throw 0", "it threw 0"],
    ["throw ''", 'it threw ""'],
    ["throw NaN", "it threw NaN"],
    ["throw 12n", "it threw 12n"],
    ["throw false", "it threw false"],
    ["throw 'no mail'", 'it threw "no mail"'],
    ["throw Symbol('s')", "it threw"],
    ["throw [1, { a: 2 }]", 'it threw [1,{"a":2}]'],
    ["throw { code: 3 }", 'it threw {"code":3}'],
    ["throw () => 1", "it threw"],
    ["result = Promise.reject(null)", "it threw null"],
    ["result = Promise.reject()", "it threw undefined"],
  ])("that ends in %s fails, and the error has the thrown value: %s", async (code, text) => {
    await expect(sandbox.transform(code, state)).rejects.toMatchObject({
      code: "transform",
      message: expect.stringContaining(text),
    });
  });

  // Fails when the error of a long program does not say where it is and what state had, or names a place in the script that was made of a condition.
  test.each([
    [
      "const x = 1;\n  result = state.gone.deeper",
      "TypeError: cannot read property 'deeper' of undefined (line 2, column 22; state.gone is absent)",
    ],
    ["\nfunction f(v) {\n  throw new Error('odd') }\nf(1)", "Error: odd (line 3, column 18)"],
    ["const ä = 'ü'; result = ä.gone()", "TypeError: not a function (line 1, column 31)"],
    ["result = [1].map((x) => x.y.z)", "(line 1, column 28)"],
    ["result = JSON.parse('{')", "(line 1, column 20)"],
    ["result = (async () => {\n  await null\n  null.x\n})()", "(line 3, column 7)"],
  ])("that fails names the line and the column: %j", async (code, text) => {
    await expect(sandbox.transform(code, state)).rejects.toThrow(text);
  });

  test.each([
    ["state.gone.deeper", "(line 1, column 11; state.gone is absent)"],
    [
      "state.n == 4 and state.text.gone('x')",
      "(line 1, column 33; state.n is a number, state.text is a text)",
    ],
    [
      "not state.n or\n  state.gone.x in state.tags",
      "(line 2, column 13; state.gone is absent, state.n is a number, state.tags is a list)",
    ],
    [
      "state['nothing'].x + state.none + state.empty",
      "(line 1, column 17; state.nothing is null, state.empty is an object,",
    ],
    ["'😀😀' + state.gone.x", "(line 1, column 20; state.gone is absent)"],
    [`state.${"k".repeat(101)}.x`, "(line 1, column 108)"],
  ])("of a condition has its own lines and columns too: %j", async (condition, text) => {
    await expect(sandbox.evaluate(condition, state)).rejects.toThrow(text);
  });

  // Fails when the failure of a promise that nothing awaits is lost.
  test.each([
    "async function main() { result = 1; throw new Error('boom') }\nmain()",
    "result = 1; (async () => { await null; throw new Error('boom') })()",
    "(async () => { throw new Error('boom') })()",
    "result = 1; Promise.reject(new Error('boom'));",
  ])("whose last statement is a promise that fails, fails with its error: %j", async (code) => {
    await expect(sandbox.transform(code, state)).rejects.toThrow("boom");
  });

  test("that uses up its memory fails with that reason, also after a program that threw null", async () => {
    const hungry = "const all = []; for (;;) all.push('x'.repeat(10000) + all.length)";
    await expect(sandbox.transform("throw null", state)).rejects.toThrow("it threw null");
    await expect(sandbox.transform(hungry, state)).rejects.toThrow("memory");
    await expect(sandbox.transform("throw null", state)).rejects.toThrow("it threw null");
  });

  test("may use the names that the check of a saved definition knows, and no others", async () => {
    const names = await sandbox.transform("result = Object.getOwnPropertyNames(globalThis)", state);
    expect(z.array(z.string()).parse(names).toSorted()).toEqual([...SANDBOX_NAMES, "result"].toSorted());
  });

  test("that replaces JSON.stringify does not change how its result is stored", async () => {
    expect(await sandbox.transform("JSON.stringify = () => '{'; result = 1", state)).toBe(1);
  });

  test.each([
    ["result = Promise.resolve(1)", 1],
    ["async function f() { await null; return { a: [1] }; } result = f()", { a: [1] }],
    ["let result = 0; (async () => { await null; await null; result = 7; })()", 7],
    ["'use strict'; result = 1", 1],
    ["result = 1; Promise.resolve(2)", 1],
    ["result = 1; new Promise(() => {})", 1],
    ["result = { gone: undefined, own: { toJSON: () => 'as text' } }", { own: "as text" }],
    [
      "const one = { a: 1 }; result = { x: one, list: [one, one] }",
      { x: { a: 1 }, list: [{ a: 1 }, { a: 1 }] },
    ],
    [
      "class P { constructor() { this.x = 1; } } result = [new P(), Object.create(null), new Number(2)]",
      [{ x: 1 }, {}, 2],
    ],
  ])("has the result that its promises are fulfilled with: %s", async (code, value) => {
    expect(await sandbox.transform(code, state)).toEqual(value);
  });

  // Fails when digits are lost between a text and a result.
  test.each([
    ['result = JSON.parse(\'{"id":12345678901234567890,"n":7}\')', { id: "12345678901234567890", n: 7 }],
    ["result = JSON.parse('[9007199254740993]', (key, value) => value)", ["9007199254740993"]],
    [
      "result = [9007199254740991, 10000000000000000, -1e18, 1e21, 0.1]",
      [9007199254740991, 1e16, -1e18, 1e21, 0.1],
    ],
  ])("keeps the digits of its integers: %s", async (code, value) => {
    expect(await sandbox.transform(code, state)).toEqual(value);
  });

  test.each([
    ["result = 0/0", "result is NaN, which JSON cannot hold"],
    ["result = state.gone * 2", "result is NaN, which JSON cannot hold (state.gone is absent)"],
    ["result = { mean: 0/0 }", "result.mean is NaN"],
    ["result = { a: [1, { b: -1/0 }] }", "result.a[1].b is -Infinity"],
    ["const one = { a: 1 }; result = [one, { one }, one, NaN]", "result[3] is NaN"],
    ["result = [1, , 2]", "result[1] is undefined"],
    ["result = new Number(NaN)", "result is NaN"],
    ["result = new Map([['a', 1]])", "result is a Map"],
    ["result = { tags: new Set(state.tags) }", "result.tags is a Set"],
    ["result = () => 1", "result is a function"],
    ["result = { run() {} }", "result.run is a function"],
    ["result = [Symbol('x')]", "result[0] is a symbol"],
    ["result = { big: 2n ** 70n }", "result.big is a BigInt"],
    ["result = [12345678901234567890]", "result[0] is 12345678901234567000, an integer beyond 2^53"],
    ["result = { at: 1764400123 * 1e9 + 456789123 }", "result.at is 1764400123456789"],
    ["result = /x/", "result is a RegExp"],
    ["result = { error: new Error('x') }", "result.error is an Error"],
    ["result = [Promise.resolve(1)]", "result[0] is a Promise"],
    ["result = state.tags.values()", "result is an Array Iterator"],
    ["result = (async () => 0/0)()", "result is NaN"],
    ["result = new Promise(() => {})", "result is a promise that nothing settles"],
    ["result = Promise.reject(new Error('boom'))", "boom"],
  ])("with a result that JSON cannot hold fails and names its path: %s", async (code, message) => {
    const running = sandbox.transform(code, state);
    await expect(running).rejects.toMatchObject({ name: "TerminalError", code: "transform" });
    await expect(running).rejects.toThrow(message);
  });

  test(
    "whose promises never come to an end is stopped, by its time or by its memory",
    { timeout: 600_000 },
    async () => {
      const endless = "const again = () => { Promise.resolve().then(again); }; again(); result = 1";
      const growing =
        "const all = []; Promise.resolve().then(() => { for (;;) all.push(new ArrayBuffer(1 << 20)); }); result = 1";
      await Promise.all([
        expect(sandbox.transform(endless, state)).rejects.toThrow("more than 5 s"),
        expect(sandbox.transform(growing, state)).rejects.toThrow("32 MiB"),
      ]);
      expect(await sandbox.transform("result = 1", state)).toBe(1);
    },
  );
});

describe("the sandbox", () => {
  test.each([
    "typeof process",
    "typeof require",
    "typeof fetch",
    "typeof setTimeout",
    "typeof Date",
    "typeof performance",
    "typeof globalThis.constructor.constructor('return this')().process",
    "typeof std",
    "typeof os",
    "typeof print",
  ])("has no %s", async (expression) => {
    expect(await sandbox.evaluate(expression, {})).toBe("undefined");
  });

  test("cannot load a module", async () => {
    expect(
      await sandbox.transform(
        "let result = 'no'; import('node:fs').then(() => { result = 'yes' }, () => {})",
        {},
      ),
    ).toBe("no");
  });

  test("keeps no state from one program to the next", async () => {
    await sandbox.transform("globalThis.leak = 1; Object.prototype.leak = 2; result = 1", {});
    await sandbox.transform("globalThis.leak = 1; Object.prototype.leak = 2; result = 1", {});
    expect(await sandbox.evaluate("[typeof leak, typeof state.leak]", {})).toEqual([
      "undefined",
      "undefined",
    ]);
  });

  test("does not change the caller's state", async () => {
    const original = { list: [1] };
    await sandbox.transform("state.list.push(2); result = state.list", original);
    expect(original).toEqual({ list: [1] });
  });

  test("stops an endless expression after a second without blocking the caller's thread", async () => {
    let ticks = 0;
    const ticking = setInterval(() => ticks++, 20);
    await expect(sandbox.evaluate("(() => { for (;;); })()", {})).rejects.toThrow("more than 1 s");
    clearInterval(ticking);
    expect(ticks).toBeGreaterThan(5);
  });

  test("stops a regular expression that backtracks without end", async () => {
    const backtracking = `/^(a+)+$/.test("${"a".repeat(40)}b")`;
    await expect(sandbox.evaluate(backtracking, {})).rejects.toThrow("more than 1 s");
  });

  // Fails when the pool ends a program by the clock: on a busy machine a program of 0.3 s of processor time may take 20 s.
  test("ends no program within its limit, however often it looks at the time", async () => {
    const looking = createSandbox({ lookMs: 5 });
    const program = "for (let i = 0; i < 1e7; i++); result = 1";
    expect(
      await looking.of({ tenant: "acme", signal: new AbortController().signal }).transform(program, {}),
    ).toBe(1);
    await looking.close();
  });

  test("limits a program to 32 MiB", async () => {
    const allocate = (mebibytes: number): string =>
      `const a = []; for (let i = 0; i < ${mebibytes}; i++) a.push(new ArrayBuffer(1 << 20)); const result = a.length;`;
    expect(await sandbox.transform(allocate(16), {})).toBe(16);
    await expect(sandbox.transform(allocate(40), {})).rejects.toThrow("32 MiB");
    expect(await sandbox.evaluate("1 + 1", {})).toBe(2);
  });

  test("runs many expressions that are submitted at once", async () => {
    const values = await Promise.all(
      Array.from({ length: 50 }, (_, i) => sandbox.evaluate("state.i * 2", { i })),
    );
    expect(values).toEqual(Array.from({ length: 50 }, (_, i) => i * 2));
  });
});

describe("an integer beyond 2^53, which code gets as a text", () => {
  const id = "9007199254740993";
  const long = {
    id,
    same: id,
    next: "9007199254740994",
    short: 7,
    text: "x",
    list: [id],
    neg: "-9007199254740993",
  };

  // Fails when a run goes on with a number that has other digits than the client sent.
  test.each([
    "state.id + 1",
    "1 + state.id",
    "state.short + state.id",
    "(state.id) /* + */ + (1)",
    "state.text + 1 + state.short * state.id",
    "state.id - 1",
    "state.next - state.id",
    "state.id * 2",
    "state.id / 2",
    "state.id % 10",
    "state.id ** 2",
    "state.id | 0",
    "-state.id",
    "+state.id",
    "~~state.id",
    "state.id + 1n",
    "Number(state.id)",
    "parseInt(state.id, 10)",
    "int(state.id)",
    "Math.max(1, state.id)",
    "Math.floor(state.neg)",
    "state.list.map(Number)",
    "state.list.map((each) => each - 1)",
    "`${state.id + 1}`",
    "state.short > 1 ? state.id * 1 : 0",
  ])("fails in %s, and the error shows where", async (expression) => {
    const running = sandbox.evaluate(expression, long);
    await expect(running).rejects.toMatchObject({ code: "expression" });
    await expect(running).rejects.toThrow("an integer beyond 2^53");
  });

  test("is in the error, with the operation that failed", async () => {
    await expect(sandbox.evaluate("state.id + 1", long)).rejects.toThrow(
      `in state.id + 1, ${id} is an integer`,
    );
  });

  test.each([
    "let n = state.id; n += 1; result = n",
    "state.id -= 1; result = state.id",
    "let n = state.id\n++n\nresult = n",
    "state.id++; result = state.id",
    "for (let n = state.id; n < 9; n++) {} result = state.list.reduce((a, b) => a + b, 0)",
  ])("fails in a program: %s", async (program) => {
    await expect(sandbox.transform(program, long)).rejects.toThrow("an integer beyond 2^53");
  });

  test.each([
    ["state.id", id],
    ["'order ' + state.id", `order ${id}`],
    ["state.id + '/' + state.short + 1", `${id}/71`],
    ["`${state.id}`", id],
    ["state.id == state.same", true],
    ["state.id === state.same and state.id != state.next", true],
    ["state.id > 5", true],
    ["state.neg < 5", true],
    ["state.id < state.next", true],
    ["state.id == 9007199254740992", false],
    ["state.id > 9007199254740992", true],
    ["state.id <= 1e300", true],
    ["String(BigInt(state.id) + 1n)", "9007199254740994"],
    ["String(BigInt(state.id) - BigInt(state.next))", "-1"],
    ["Number.isInteger(state.short) and Math.max(1, state.short) + 1", 8],
    ["[3, 1, 2].sort((a, b) => a - b)", [1, 2, 3]],
    ["(1 + 2) * 3 - -4 / 2 ** 2 ** 1 % 5", 10],
    ["1 - 2 - 3 + '4'", "-44"],
    ["((a, b = a + 1) => ({ a, b, c: a<b, d: typeof -a }))(1)", { a: 1, b: 2, c: true, d: "number" }],
    ["Array.from({ length: 3 }, (_, i) => i * 2 + 1)", [1, 3, 5]],
    ["state.list.length + 1", 2],
    ["Number('5') + Number.parseInt('5') + new Number(5) + parseInt('5.5')", 20],
    ["Number.MAX_SAFE_INTEGER - Math.PI > 0", true],
    ["state.short.constructor === Number", true],
  ])("does not change the value of %s", async (expression, value) => {
    expect(await sandbox.evaluate(expression, long)).toEqual(value);
  });

  test.each([
    [
      "let a = 1\n++a\na += 2; a **= 2; const o = { n: [1] }; o.n[0] -= 3; o.n[0]--; result = [a, o.n[0]]",
      [16, -3],
    ],
    ["let n = 1n; n++; n += 1n; result = String(-n)", "-3"],
    ["let i = 0; const next = () => ({ v: i++ }); next().v += 1; result = i", 1],
    ["result = 0; for (let i = 0; i < 3; i++) if (i % 2 === 0) result += i; else--result", 1],
    ["function f(x){return-x} result = f(2) + +'3'", 1],
    ["let s = ''; for (const c of 'ab') s += c + '/'; result = s", "a/b/"],
    ["class A { n = 1 + 1; get m() { return this.n*2 } } result = new A().m", 4],
    ["label: for (;;) { break label } result = /a+b/.test('aab') ? 1+1 : 0", 2],
  ])("does not change the result of a program: %s", async (program, value) => {
    expect(await sandbox.transform(program, long)).toEqual(value);
    expect(await sandbox.transform(program, {})).toEqual(value);
  });

  // Fails when a fraction, which code gets as a number, makes each operator of the code a call: a loop then needs several times the time.
  test.each([
    ['{"score":0.30000000000000004,"cost":-1.2345678901234567e-7}', false],
    ['{"id":"9007199254740993"}', true],
    ['{"text":"2.5 of 9007199254740993"}', true],
    ['{"ids":"a.9007199254740993"}', true],
  ])("is looked for before code is rewritten: %s", (json, may) => {
    expect(mayHaveLongInteger(json)).toBe(may);
  });

  test("does not make a long sum a deep nest of calls", async () => {
    const sum = Array.from({ length: 5_000 }, () => "1").join("+");
    expect(await sandbox.transform(`result = ${sum}`, long)).toBe(5_000);
  });
});
