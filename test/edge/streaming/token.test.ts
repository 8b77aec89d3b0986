import { describe, expect, test } from "vitest";
import { expiryOf, makeStreamToken, readStreamToken } from "../../../edge/streaming/token.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";

const SECRET = "a-secret-of-some-length";
const run = newRunId(1_780_499_750_067);
const claim = { opens: run, madeAtMs: 1_780_499_751_999, keyId: "key_0011223344556677" };
const HOUR = 3_600_000;

describe("a stream token", () => {
  test("holds its run, the time of its creation and the key that created it", async () => {
    const token = await makeStreamToken(SECRET, claim);
    expect(await readStreamToken(SECRET, token)).toEqual({ ...claim, madeAtMs: 1_780_499_751_000 });
  });

  test("is refused when any part is changed, under another secret, and when it is no token", async () => {
    const token = await makeStreamToken(SECRET, claim);
    const other = token.replace(run, newRunId(1_780_499_750_067));
    const later = token.replace(".1780499751.", ".1780499752.");
    const otherKey = token.replace("key_00", "key_01");
    const withoutKey = token.replace(`.${claim.keyId}`, "");
    const cut = token.slice(0, -1);
    for (const wrong of [
      other,
      later,
      otherKey,
      withoutKey,
      cut,
      `${token}0`,
      "",
      "syn-st",
      "a.b.c.d.e",
      token.toUpperCase(),
    ]) {
      expect(await readStreamToken(SECRET, wrong)).toBe(null);
    }
    expect(await readStreamToken("another-secret-of-length", token)).toBe(null);
  });

  test("is valid until its run ends, and for an hour after that end or its own creation", () => {
    expect(expiryOf(5, 1_000)).toBe(HOUR + 1_000);
    expect(expiryOf(9_000, 1_000)).toBe(HOUR + 9_000);
  });

  test("is valid for 7 days at most, also for a run that does not end", () => {
    expect(expiryOf(5, null)).toBe(7 * 24 * HOUR + 5);
    expect(expiryOf(5, 30 * 24 * HOUR)).toBe(7 * 24 * HOUR + 5);
  });
});
