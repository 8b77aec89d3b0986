import { describe, expect, test } from "vitest";
import { inHalves } from "../../../shared/store/halves.ts";

class PostgresError extends Error {
  override name = "PostgresError";
  readonly code: string;
  constructor(code: string) {
    super("refused");
    this.code = code;
  }
}

/** A statement that refuses every batch with one of `guilty` in it. */
function refusing(guilty: readonly number[], code = "22P05") {
  const executed: number[][] = [];
  const execute = async (items: readonly number[]) => {
    executed.push([...items]);
    if (items.some((item) => guilty.includes(item))) throw new PostgresError(code);
    return items.length;
  };
  return { executed, execute };
}

const items = Array.from({ length: 128 }, (_, item) => item);

describe("a statement for many items", () => {
  test("that holds two values which cannot be stored fails for these two alone", async () => {
    const { executed, execute } = refusing([3, 100]);
    const { results, failed } = await inHalves(items, execute);
    expect([...failed.keys()].toSorted((a, b) => a - b)).toEqual([3, 100]);
    expect(results.reduce((sum, n) => sum + n, 0)).toBe(126);
    expect(executed.length).toBeLessThanOrEqual(1 + 2 * 2 * 7);
  });

  test("that succeeds is executed once, and none is executed for no items", async () => {
    const { executed, execute } = refusing([]);
    expect(await inHalves(items, execute)).toEqual({ results: [128], failed: new Map() });
    expect(await inHalves([], execute)).toEqual({ results: [], failed: new Map() });
    expect(executed).toHaveLength(1);
  });

  // Fails when the statement is sent 255 times to a database that is unreachable.
  test.each(["57P01", "57014", "40P01", "42P01"])("that fails with %s is not halved", async (code) => {
    const { executed, execute } = refusing([3], code);
    await expect(inHalves(items, execute)).rejects.toMatchObject({ code });
    expect(executed).toHaveLength(1);
  });
});
