import { describe, expect, test } from "vitest";
import { expiryOf, makeStreamToken, readStreamToken } from "../../../edge/streaming/token.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";

const SECRET = "a-secret-of-some-length";
const run = newRunId(1_780_499_750_067);

describe("a stream token", () => {
  test("holds its run and the time of its creation", async () => {
    const token = await makeStreamToken(SECRET, run, 1_780_499_751_999);
    expect(await readStreamToken(SECRET, token)).toEqual({ run, madeAtMs: 1_780_499_751_000 });
  });

  test("is refused when any part is changed, under another secret, and when it is no token", async () => {
    const token = await makeStreamToken(SECRET, run, 1_780_499_751_999);
    const other = token.replace(run, newRunId(1_780_499_750_067));
    const later = token.replace(".1780499751.", ".1780499752.");
    const cut = token.slice(0, -1);
    for (const wrong of [other, later, cut, `${token}0`, "", "syn-st", "a.b.c.d", token.toUpperCase()]) {
      expect(await readStreamToken(SECRET, wrong)).toBe(null);
    }
    expect(await readStreamToken("another-secret-of-length", token)).toBe(null);
  });

  test("is valid until its run ends, and for an hour after that end or its own creation", () => {
    expect(expiryOf(5, null)).toBe(null);
    expect(expiryOf(5, 1_000)).toBe(3_601_000);
    expect(expiryOf(9_000, 1_000)).toBe(3_609_000);
  });
});
