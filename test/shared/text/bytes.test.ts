import { expect, test } from "vitest";
import { utf8, utf8Length } from "../../../shared/text/bytes.ts";
import { newRunId, randomHex } from "../../../shared/contracts/ids.ts";

// Fails when a text fills the buffer in which it is measured.
test.each([
  ["", 0],
  ["ä", 2],
  ["\u2028", 3],
  ["😀", 4],
  ["\ud800", 3],
  ["\uffff".repeat(8 * 1024), 24 * 1024],
  ["\uffff".repeat(8 * 1024 + 1), 24 * 1024 + 3],
  ["a".repeat(100_000), 100_000],
])("the length of a text in UTF-8 is that of its bytes", (text, bytes) => {
  expect(utf8Length(text)).toBe(bytes);
  expect(utf8Length(text)).toBe(utf8(text).length);
});

// Fails when random bytes are used twice, or when a part of the buffer is used before it was filled.
test("no random bytes are used twice", () => {
  const parts = Array.from({ length: 3_000 }, (_, i) => randomHex(6 + (i % 3)));
  const bytes = parts.map((part) => part.match(/../g) ?? []);
  expect(parts.every((part, i) => part.length === 2 * (6 + (i % 3)))).toBe(true);
  expect(new Set(parts).size).toBe(parts.length);
  expect(new Set(parts.map((part) => part.slice(0, 12))).size).toBe(parts.length);
  expect(new Set(bytes.flat()).size).toBe(256);
  // Of neighbours that share no byte, one in 256 has the same one at their border.
  const shared = bytes.filter((part, i) => i > 0 && part[0] === bytes[i - 1]?.at(-1));
  expect(shared.length).toBeLessThan(100);
  expect(newRunId(1_780_499_750_067)).toMatch(/^run_[0-9a-f]{12}_1780499750067$/);
});
