import { expect, test } from "vitest";
import { redact } from "../../../shared/security/redact.ts";
import { cpuMs } from "../../services/cpu-time.ts";

test.each([["abcabd"], ["aaaa"], ["abababab"], ["aabaabaa"], ["abcd\\efgh"]])(
  "a long text has *** where a short one has it: %s",
  (part) => {
    const long = part.repeat(400);
    for (const text of [
      `a${long}b`,
      `${long}${long}`,
      `${part.repeat(399)}x${long}a`,
      part.repeat(1_000),
      "a".repeat(3_000),
    ]) {
      const whole = `${text}${"-".repeat(20_000)}${text}`;
      expect(redact(whole, [long])).toBe(whole.replaceAll(long, "***"));
    }
  },
);

test("secrets of a tool that repeat a character are searched in an answer of 1 MB in a fraction of a second", () => {
  const secrets = [3_000, 3_500, 4_000, 4_500].map((at) => `${"a".repeat(at)}b${"a".repeat(8_000 - at)}`);
  const startedAt = cpuMs();
  expect(redact(`${"a".repeat(1_000_000)}${secrets[0]}`, secrets)).toBe(`${"a".repeat(1_000_000)}***`);
  expect(cpuMs() - startedAt).toBeLessThan(1_000);
});
