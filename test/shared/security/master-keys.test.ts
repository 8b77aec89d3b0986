import { expect, test } from "vitest";
import { bothSet, fingerprintKeyOf, masterKey, masterKeys } from "../../../shared/security/master-keys.ts";
import { SealError, keyIdOf, seal, unseal } from "../../../shared/security/seal.ts";

const [OLD, NEW] = ["11".repeat(32), "22".repeat(32)];
const simple = masterKey().parse(OLD);
const before = masterKeys().parse(`default:${OLD},2026b:${NEW}`);
const during = masterKeys().parse(`2026b:${NEW},default:${OLD}`);
const after = masterKeys().parse(`2026b:${NEW}`);

// Fails when a process with the settings of one step cannot open a value that a process with the settings of the next step has sealed.
test("in each step of a rotation, processes with the settings of that step and of the one before open each other's values", async () => {
  for (const [earlier, later] of [
    [simple, before],
    [before, during],
  ] as const) {
    expect(await unseal(earlier, await seal(later, "s", "p"), "p")).toBe("s");
    expect(await unseal(later, await seal(earlier, "s", "p"), "p")).toBe("s");
  }
  expect(await unseal(during, await seal(after, "s", "p"), "p")).toBe("s");
});

test("a value names the key that sealed it, and a process without that key says which one it lacks", async () => {
  const [old, fresh] = [await seal(simple, "s", "p"), await seal(during, "s", "p")];
  expect([keyIdOf(old), keyIdOf(fresh)]).toEqual(["default", "2026b"]);
  await expect(unseal(after, old, "p")).rejects.toThrow(
    new SealError("the value was sealed under the master key default, which is not in MASTER_KEYS here"),
  );
  await expect(unseal(simple, fresh, "p")).rejects.toThrow(/master key 2026b/);
  await expect(unseal(masterKeys().parse(`2026b:${OLD}`), fresh, "p")).rejects.toThrow(/another MASTER_KEY/);
});

// Fails when a request that is repeated during a rotation is taken for another one.
test("the key of fingerprints stays the same until the old key is removed", () => {
  const keys = [simple, before, during].map(fingerprintKeyOf);
  expect(keys).toEqual([keys[0], keys[0], keys[0]]);
});

test.each([
  [`2026b:${NEW},2026b:${OLD}`, "has the key 2026b twice"],
  [`2026b:abc`, "the key 2026b must be 32 bytes, as 64 hex digits or as base64: openssl rand -base64 32"],
  [`2026B:${NEW}`, "entry 1 must be id:key, the id of 1 to 32 small letters, digits and -"],
  [NEW, "entry 1 must be id:key, the id of 1 to 32 small letters, digits and -"],
  [Array.from({ length: 9 }, (_, i) => `k${i}:${NEW}`).join(","), "may have at most 8 keys"],
])("MASTER_KEYS that is wrong is refused without the key in the text: %#", (text, message) => {
  expect(
    masterKeys()
      .safeParse(text)
      .error?.issues.map((issue) => issue.message),
  ).toEqual([message]);
});

test("both variables at once are refused, because no order of the keys would be certain", () => {
  expect(bothSet({ MASTER_KEY: simple, MASTER_KEYS: during })).toContain("default:<key>");
  expect(bothSet({ MASTER_KEYS: during })).toBeNull();
});
