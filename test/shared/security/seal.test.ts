import { expect, test } from "vitest";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { SealError, sealedPlace, seal, unseal } from "../../../shared/security/seal.ts";

const HEX = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const key = masterKey().parse(HEX);
const other = masterKey().parse(Buffer.alloc(32, 7).toString("base64"));
const place = sealedPlace("run_1", "webhook_secret");
const SECRET = "sésame – 秘密 \u0000";

test("a sealed text opens again, and each seal of it is different", async () => {
  const [first, second] = [await seal(key, SECRET, place), await seal(key, SECRET, place)];
  expect(first).toMatch(/^v1\.[A-Za-z0-9+/=]+$/);
  expect(first).not.toBe(second);
  expect(await unseal(key, first, place)).toBe(SECRET);
});

// Fails when the associated data is left out.
test("a sealed text opens only for the place that it was sealed for", async () => {
  const sealed = await seal(key, SECRET, place);
  for (const elsewhere of [sealedPlace("run_2", "webhook_secret"), sealedPlace("run_1", "other")]) {
    await expect(unseal(key, sealed, elsewhere)).rejects.toThrow(SealError);
  }
});

test("a sealed text does not open under another key or when changed, and no error quotes it", async () => {
  const sealed = await seal(key, SECRET, place);
  await expect(unseal(other, sealed, place)).rejects.toThrow(SealError);
  const last = sealed.at(-6) === "A" ? "B" : "A";
  await expect(unseal(key, sealed.slice(0, -6) + last + sealed.slice(-5), place)).rejects.toThrow(SealError);
  for (const text of [SECRET, "v1.", "v1.!", "v2.abcd", sealed.slice(3)]) {
    const error: unknown = await unseal(key, text, place).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(SealError);
    expect(String(error)).not.toContain("sésame");
  }
});

test("a key is 32 bytes, as 64 hex digits or as base64; the error names both forms", () => {
  expect(masterKey().parse(Buffer.from(HEX, "hex").toString("base64"))).toEqual(key);
  for (const wrong of [
    "",
    "short",
    HEX.slice(2),
    `${HEX}00`,
    Buffer.alloc(31).toString("base64"),
    "ü".repeat(44),
  ]) {
    const { error } = masterKey("MASTER_KEY ").safeParse(wrong);
    expect(error?.issues.map((issue) => issue.message)).toEqual([
      "MASTER_KEY must be 32 bytes, as 64 hex digits or as base64: openssl rand -base64 32",
    ]);
  }
});
