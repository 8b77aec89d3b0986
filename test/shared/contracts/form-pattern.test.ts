import { describe, expect, test } from "vitest";
import { HumanField, answerErrors } from "../../../shared/contracts/definition/human.ts";
import { fitsPattern, patternError } from "../../../shared/contracts/definition/form-pattern.ts";
import { cpuMs } from "../../services/cpu-time.ts";

describe("a pattern of a form field", () => {
  test.each([
    ["[A-Z]{2}-\\d+", "AB-12", "AB-"],
    ["^[A-Z]{2}-\\d+$", "AB-12", "xAB-12"],
    ["a*b?c", "aac", "abbc"],
    ["\\d{3,}", "1234", "12"],
    ["\\d{2,3}", "123", "1234"],
    ["[^,]+", "a b", "a,b"],
    [".{1,3}", "äöü", "abcd"],
    [".", "😀", "ab"],
    ["a*a", "aaa", "b"],
    ["\\.\\$", ".$", "a$"],
    ["", "", "a"],
  ])("%s fits %s and not %s, as a regular expression of JavaScript says", (pattern, fitting, other) => {
    expect(patternError(pattern)).toBeNull();
    expect([fitsPattern(pattern, fitting), fitsPattern(pattern, other)]).toEqual([true, false]);
    const native = new RegExp(`^(?:${pattern})$`, "su");
    expect([native.test(fitting), native.test(other)]).toEqual([true, false]);
  });

  test.each(["(a+)+", "a|b", "(?=a)", "\\1", "[b-a]", "a**", "a{3,2}", "[", "a{", "\\p{L}", "x".repeat(201)])(
    "%s is refused",
    (pattern) => {
      expect(patternError(pattern)).toMatch(/^must be at most 200 characters of/);
    },
  );

  // Fails when the match backtracks: these texts would take years.
  test("takes a bounded time with any text", () => {
    const pattern = `${"[a-z]*".repeat(33)}!`;
    const text = "a".repeat(10_000);
    const before = cpuMs();
    expect(fitsPattern(pattern, text)).toBe(false);
    expect(cpuMs() - before).toBeLessThan(2_000);
  });

  test("is reported with its field, and an answer that does not fit is refused with it", () => {
    const field = HumanField.parse({ key: "ref", pattern: "[A-Z]{2}-\\d+" });
    expect(field).toMatchObject({ key: "ref", pattern: "[A-Z]{2}-\\d+" });
    expect(answerErrors([field], { ref: "AB-1" })).toEqual([]);
    expect(answerErrors([field], { ref: "AB" })).toEqual([
      { path: "response.ref", message: "must fit the pattern [A-Z]{2}-\\d+" },
    ]);
  });
});
