import fc from "fast-check";
import { expect, test } from "vitest";
import { repeatedKeys } from "../../../shared/contracts/repeated-keys.ts";
import { cpuMs } from "../../services/cpu-time.ts";

const found = (json: string) => repeatedKeys(json, JSON.parse(json)).map((path) => path.join("."));

// Fails when one of two values is dropped without an error, or when the path leads to another key.
test("a key that an object has twice is found by its path, however it is spelled", () => {
  expect(found('{"a":1,"b":2,"a":3}')).toEqual(["a"]);
  expect(found(String.raw`{"l":[{"x":1},{"y":{"k":1,"\u006b":2}}]}`)).toEqual(["l.1.y.k"]);
  expect(found('{"a":{"z":1,"z":2},"a":{"z":1}}')).toEqual(["a.z", "a"]);
  expect(found('{"__proto__":1,"__proto__":2}')).toEqual(["__proto__"]);
});

// Fails when a body is refused that every reader reads alike.
test("no object of JSON.stringify has a repeated key, whatever its strings hold", () => {
  const texts = fc.constantFrom('"', "\\", ":", '{"a":1,"a":2}', "a", "", '\\"', "__proto__");
  const value = fc.letrec((tie) => ({
    any: fc.oneof(texts, fc.integer(), fc.array(tie("any")), fc.dictionary(texts, tie("any"))),
  })).any;
  fc.assert(
    fc.property(value, (any) => {
      expect(found(JSON.stringify(any))).toEqual([]);
    }),
  );
});

// Fails when the search recurses, or when it takes more than a step for each character.
test("a deep and a wide body are searched too", () => {
  expect(found(`${'{"a":'.repeat(50_000)}{"b":1,"b":2}${"}".repeat(50_000)}`)).toHaveLength(1);
  expect(found(`[${'{"a":1,"a":2},'.repeat(50_000)}0]`)).toHaveLength(10);
});

// Fails when a large body keeps an isolate busy, in which the requests of other tenants wait.
test("a string of megabytes costs a small part of what its parse costs", () => {
  const json = JSON.stringify({ message: "x".repeat(4_000_000) });
  const timeOf = (work: () => unknown): number => {
    const startMs = cpuMs();
    for (let i = 0; i < 20; i++) work();
    return cpuMs() - startMs;
  };
  const value: unknown = JSON.parse(json);
  const parseMs = timeOf(() => JSON.parse(json));
  expect(timeOf(() => repeatedKeys(json, value)) * 4).toBeLessThan(parseMs);
});
