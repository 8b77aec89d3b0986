import { describe, expect, test } from "vitest";
import { mendedText } from "../../../worker-node/engine/mended-json.ts";
import { findJson, jsonOfAnswer } from "../../../worker-node/engine/find-json.ts";
import { cpuMs } from "../../services/cpu-time.ts";

describe("JSON in text", () => {
  test.each([
    ['{"a": 1}', [{ a: 1 }]],
    ["  [1, 2] ", [[1, 2]]],
    ['Here:\n```json\n{"a": 1}\n```\nand\n```\n[2]\n```', [{ a: 1 }, [2]]],
    ['It is {"a": "}{", "b": {"c": []}} as I said, or ["x"].', [{ a: "}{", b: { c: [] } }, ["x"]]],
    ['[see](http://x) {not json} {"ok": true}', [{ ok: true }]],
    ['He wrote {"so: {"ok": [true, null, -1.5e3]}', [{ ok: [true, null, -1500] }]],
    ['[{"a": 1}, {"b": 2}, and so on', [{ a: 1 }, { b: 2 }]],
    ['The order {"id": 12345678901234567890, "n": 7} is open.', [{ id: "12345678901234567890", n: 7 }]],
    ['{"id": 9007199254740993}', [{ id: "9007199254740993" }]],
    ["no JSON at all {", []],
    // Fails when a part of a value that is too deep passes for the value.
    [`${"[".repeat(100)}1${"]".repeat(100)}`, []],
    [`First ${'{"a":'.repeat(70)}"}"${"}".repeat(70)}, then {"b": 2}`, [{ b: 2 }]],
    ["", []],
  ])("is found, or there is none: %s", (text, values) => {
    expect(findJson(text)).toEqual(values);
  });

  test("after an object that cannot be read is found", () => {
    expect(findJson('Answer as {"route": <label>, "meta": {"x": 1}}. {"route": "yes"}')).toEqual([
      { route: "yes" },
    ]);
  });

  test("in a fence is preferred to a draft outside of it", () => {
    expect(findJson('First {"draft": 1}.\n```json\n{"final": 2}\n```')).toEqual([{ final: 2 }]);
  });

  // Fails when the form of one model's answer decides whether another one's counts.
  test.each<[string[], unknown[]]>([
    [
      ['{"a": 1}', "Here:\n```json\n[2]\n```"],
      [{ a: 1 }, [2]],
    ],
    [
      ['It is {"a": 1}.', "```\n[2]\n```", '{"b": 3}'],
      [{ a: 1 }, [2], { b: 3 }],
    ],
    [
      ['Draft {"a": 0}\n```json\n{"a": 1}\n```', '{"b": 3}'],
      [{ a: 1 }, { b: 3 }],
    ],
    [["7", 'It is {"a": 1}.', "true"], [{ a: 1 }]],
    [['{"a":', "1}"], [{ a: 1 }]],
    // Fails when the citations of one text stand beside the value of another, or a text that is a list counts as one.
    [["Tea is old [1], [2, 3].", '```json\n{"a":1}\n```'], [{ a: 1 }]],
    [
      ["[2]", '```json\n{"a":1}\n```'],
      [[2], { a: 1 }],
    ],
    [["Tea is old [1].", "So it is."], [[1]]],
  ])("is found in each of several texts, whatever form it has in the others: %j", (texts, values) => {
    expect(findJson(...texts)).toEqual(values);
  });

  test.each([
    "{".repeat(1_000_000),
    "[".repeat(1_000_000),
    '{"'.repeat(500_000),
    '{"a":'.repeat(200_000),
    '["'.repeat(500_000),
    '["\\"'.repeat(250_000),
    `["${"a".repeat(1_000_000)}`,
    "[1,".repeat(300_000),
    '{"a": x, '.repeat(100_000),
    '{"a": x},'.repeat(100_000),
    "{a: ".repeat(250_000),
    `{${"a".repeat(1_000_000)}`,
    `{'${"a".repeat(1_000_000)}`,
    "{'a ".repeat(250_000),
    "<think>".repeat(150_000),
    "</think>{".repeat(100_000),
    "```\n".repeat(250_000),
    '{"a":1 '.repeat(200_000),
    "{a: ".repeat(250_000),
    `{"a":"\n${'","'.repeat(300_000)}`,
    "[]".repeat(500_000),
  ])("is found in linear time: %.12s", (text) => {
    const startedAt = cpuMs();
    findJson(text);
    expect(cpuMs() - startedAt).toBeLessThan(3_000);
  });
});

// Fails when a part of a value passes for the value: a step would go on with it, or call a tool with it.
describe("JSON with a fault", () => {
  test.each([
    ['So: {"user": {"name": "Ann"}, "total": 12,}', [{ user: { name: "Ann" }, total: 12 }]],
    ['{"items": [{"id": 1}, {"id": 2},]}', [{ items: [{ id: 1 }, { id: 2 }] }]],
    ['[{"id": 1},]', [[{ id: 1 }]]],
    ['{"text": "two\nlines", "x": {"y": 1}}', [{ text: "two\nlines", x: { y: 1 } }]],
    ['{"a": 1} and {"b": 2,}', [{ a: 1 }, { b: 2 }]],
    ['First {"draft": 1}.\n```json\n{"final": {"n": 2},}\n```', [{ final: { n: 2 } }]],
    ['So:\n```json\n[{"id": 1}, {"id": 2},]\n```', [[{ id: 1 }, { id: 2 }]]],
    ['<think>{"d": 1}</think>{"a": {"b": 1},}', [{ a: { b: 1 } }]],
  ])("whose meaning is plain is the whole value: %s", (text, values) => {
    expect(findJson(text)).toEqual(values);
  });

  test.each([
    '{"user": {"name": "Ann"}, "items": [1, 2',
    '{"user": {"name": "Ann"}, "note": "it is {"',
    '{"a": NaN, "b": {"c": 1}}',
    '{"a": True, "x": [1, 2]}',
    '{"a": {"b": 1}, // the first\n "c": 2}',
    '{"a": {"b": 1} "c": {"d": 2}}',
    "{'tags': ['a'], 'ids': [1, 2]}",
    "{ids: [1, 2], name: 'x'}",
    "{'a-b': 'it\\'s', 'ids': [1, 2]}",
    'Here: {"a": {"b": 1}, "c": "he says "hi" to {"d": 2}"}. Done.',
    '{"a": {"b": 1}, ...}',
    '```json\n{"items": [{"id": 1}], "n": 2',
  ])("has no part that is taken for the value: %s", (text) => {
    expect(findJson(text)).toEqual([]);
  });

  test("does not hide the value after it", () => {
    expect(findJson('{"note": see below} {"answer": {"n": 42}}')).toEqual([{ answer: { n: 42 } }]);
  });
});

describe("JSON that a model thought aloud", () => {
  test.each([
    ['<think>{"d": 1}</think>{"n": 2}', [{ n: 2 }]],
    ['<think>Maybe {"d": 1}, or [7]?</think>\n\nThe answer: {"n": 2}', [{ n: 2 }]],
    ['<thinking>\n```json\n{"d": 1}\n```\n</thinking>\n```json\n{"n": 2}\n```', [{ n: 2 }]],
    ['{"d": 1}\n</think>\n{"n": 2}', [{ n: 2 }]],
    ['[THINK]{"d": 1}[/THINK]{"n": 2}', [{ n: 2 }]],
    ['<think>a</think>{"n": 2}<think>{"d": 1}</think>', [{ n: 2 }]],
    ["<think>hm</think> 42", [42]],
    ['◁think▷{"d": 1}◁/think▷{"n": 2}', [{ n: 2 }]],
    ['<seed:think>{"d": 1}</seed:think>{"n": 2}', [{ n: 2 }]],
    ['<think>{"d": 1}</think>', []],
  ])("is not the answer: %s", (text, values) => {
    expect(findJson(text)).toEqual(values);
  });

  test.each([
    ['{"note": "<think>x</think>", "n": 1}', [{ note: "<think>x</think>", n: 1 }]],
    ['So: {"note": "<think>x</think>"} and {"n": 1}', [{ note: "<think>x</think>" }, { n: 1 }]],
    ['```json\n{"note": "</think>"}\n```', [{ note: "</think>" }]],
    ['<think>{"d": 1} {"n": 2}', [{ d: 1 }, { n: 2 }]],
  ])(
    "is distinguished from the same marks inside a value, and from a mark that nothing closes: %s",
    (text, values) => {
      expect(findJson(text)).toEqual(values);
    },
  );
});

describe("brackets of prose", () => {
  test.each([
    ['[1] {"answer": 42}', [{ answer: 42 }]],
    ['[0] {"answer": 42}', [{ answer: 42 }]],
    ['As in [1] and [2, 3]: {"answer": 42} [4]', [{ answer: 42 }]],
    ['Use [] or {} when empty. Result: {"answer": 42}', [{ answer: 42 }]],
    ["Use [] when empty. Result: [10, 20]", [[10, 20]]],
    ['See [1]. Tags: ["a", "b"]', [["a", "b"]]],
  ])("are no values beside a real one: %s", (text, values) => {
    expect(findJson(text)).toEqual(values);
  });

  test.each([
    ["The list is [1, 2, 3].", [[1, 2, 3]]],
    ["The result is [].", [[]]],
    ['{"answer": 1} and {"answer": 2}', [{ answer: 1 }, { answer: 2 }]],
    ['{"answer": 1} and [1.5, 2.5, -1]', [{ answer: 1 }, [1.5, 2.5, -1]]],
  ])("are the value of a text that has no other: %s", (text, values) => {
    expect(findJson(text)).toEqual(values);
  });

  test("do not make the list of one text a citation of another", () => {
    expect(findJson('one {"x": 1}', "two [2]")).toEqual([{ x: 1 }, [2]]);
  });

  // Fails when the search for the end of a text in it begins again at each quotation mark.
  test("that is too deep and has no end is passed over in linear time", () => {
    const startedMs = cpuMs();
    expect(findJson(`${"[".repeat(70)}"${'\\"'.repeat(20_000)}`)).toEqual([]);
    expect(cpuMs() - startedMs).toBeLessThan(1_000);
  });
});

// Fails when a text with a slip is rewritten piece by piece, the numbers and commas between its slips too: a MiB took 0.3 s of the worker.
test("a slip in a long list is mended in the time that its texts and slips take", () => {
  const items = 1_500_000;
  const startedMs = cpuMs();
  expect(mendedText(`[${"1,".repeat(items)}]`)).toBe(`[${"1,".repeat(items).slice(0, -1)}]`);
  expect(cpuMs() - startedMs).toBeLessThan(400);
});

describe("an answer of more than 262,144 characters", () => {
  const long = JSON.stringify({ text: "x".repeat(300_000) });

  test.each([
    ["as it is", `${long}\n`],
    ["in a fence", `\`\`\`json\n${long}\n\`\`\``],
  ])("is read where all of it is JSON: %s", (_, text) => {
    expect(jsonOfAnswer(text)).toEqual([JSON.parse(long)]);
  });

  // Fails when JSON is searched for in an answer of any length: 2 MiB of brackets held up the worker for 0.5 s.
  test.each(["[] ", '{"', '{"a":1} ', "text "])("is not searched for JSON: %j", (piece) => {
    const startedMs = cpuMs();
    expect(jsonOfAnswer(piece.repeat(2_000_000 / piece.length))).toEqual([]);
    expect(cpuMs() - startedMs).toBeLessThan(200);
    expect(jsonOfAnswer(`text {"a":1} ${"x ".repeat(100_000)}`)).toEqual([{ a: 1 }]);
  });
});
