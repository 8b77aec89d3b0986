import { expect, test } from "vitest";
import {
  isLongInteger,
  roundedIntegers,
  withLongIntegersAsText,
} from "../../../shared/contracts/long-integers.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const pathsOf = (json: string) => roundedIntegers(json).map((path) => path.join("/"));

test.each([
  ['{"state":{"order_id":9007199254740993}}', ["state/order_id"]],
  ['{"a":[1,{"b":12345678901234567890}],"c":-9007199254740993}', ["a/1/b", "c"]],
  ["[[],{},9007199254740993]", ["2"]],
  ['{"a\\"b\\u0041":9007199254740993}', ['a"bA']],
  ['{ "x" : { "y" : [ 0 , 123456789012345678901 ] } }', ["x/y/1"]],
  ["9007199254740993", [""]],
])("an integer that a reader of JSON rounds is found with its path: %s", (json, paths) => {
  expect(pathsOf(json)).toEqual(paths);
});

test.each([
  '{"n":9007199254740991}',
  '{"n":-9007199254740991}',
  '{"n":9007199254740992}',
  '{"n":0.12345678901234567890}',
  '{"n":1.2345678901234567e400}',
  '{"n":"9007199254740993"}',
  '{"9007199254740993":1}',
  '{"a":"\\"9007199254740993","b":"[9007199254740993,"}',
])("exact integers, decimals and text are not: %s", (json) => {
  JSON.parse(json);
  expect(pathsOf(json)).toEqual([]);
});

// Fails when a text is read more than once, or a long text overflows the stack of an expression.
test("a megabyte is read in linear time", () => {
  const json = `{"a":"${"\\\\".repeat(400_000)}","b":[${"1234567890123456,".repeat(20_000)}9007199254740993]}`;
  const startedMs = cpuMs();
  expect(pathsOf(json)).toEqual(["b/20000"]);
  expect(cpuMs() - startedMs).toBeLessThan(1_000);
});

// Fails when the search for the end of a text begins again at each quotation mark: 80 KB from a tool held up a worker for 20 s.
test("a text that is no JSON, because a text in it has no end, is read in linear time", () => {
  const text = `9007199254740993 "${'\\"'.repeat(20_000)}`;
  const startedMs = cpuMs();
  expect(withLongIntegersAsText(text)).toHaveLength(text.length + 2);
  expect(withLongIntegersAsText(text, () => false)).toBe(text);
  expect(cpuMs() - startedMs).toBeLessThan(1_000);
});

test.each([
  [
    '{"a":9007199254740993,"b":[-12345678901234567890]}',
    '{"a":"9007199254740993","b":["-12345678901234567890"]}',
  ],
  ['{"n":9007199254740991,"x":0.12345678901234567890}', '{"n":9007199254740991,"x":0.12345678901234567890}'],
  ['{"9007199254740993":"\\"9007199254740993"}', '{"9007199254740993":"\\"9007199254740993"}'],
])(
  "an integer that a reader would round becomes a text of its digits, and nothing else does: %s",
  (json, read) => {
    expect(withLongIntegersAsText(json)).toBe(read);
  },
);

test("only the integers at the named paths become texts", () => {
  const json = '{"a":9007199254740993,"b" : {"c":[ 1, -9007199254740993 ,"x"]},"d":[9007199254740995]}';
  expect(withLongIntegersAsText(json, ([first]) => first !== "a")).toBe(
    '{"a":9007199254740993,"b" : {"c":[ 1, "-9007199254740993" ,"x"]},"d":["9007199254740995"]}',
  );
  const paths: string[] = [];
  withLongIntegersAsText(json, (path) => paths.push(path.join("/")) === 0);
  expect(paths).toEqual(["a", "b/c/1", "d/0"]);
});

test("only digits that a number cannot hold are a long integer", () => {
  expect(["9007199254740993", "-12345678901234567890"].every(isLongInteger)).toBe(true);
  expect(["9007199254740991", "0012345678901234567x", "", 9007199254740992, null].some(isLongInteger)).toBe(
    false,
  );
});
