import { isDataError } from "./unreachable.ts";

/**
 * Executes one statement for many items. When the database refuses a value of it, each half is tried alone, and so on,
 * until only the items that hold such a value have failed: no item fails for another.
 *
 * A refused statement costs at most `2 * log2(items)` more for each such item.
 * @returns the results of all items that did not fail, and the error of each item that did
 * @throws every error that is not about a value: it concerns all items alike
 */
export async function inHalves<Item, Result>(
  items: readonly Item[],
  execute: (items: readonly Item[]) => Promise<Result>,
): Promise<{ results: Result[]; failed: Map<Item, unknown> }> {
  if (items.length === 0) return { results: [], failed: new Map() };
  try {
    return { results: [await execute(items)], failed: new Map() };
  } catch (error) {
    if (!isDataError(error)) throw error;
    const [only] = items;
    if (items.length === 1 && only !== undefined) return { results: [], failed: new Map([[only, error]]) };
  }
  const middle = Math.ceil(items.length / 2);
  // One after the other: the halves of several tenants must not take more connections than the whole did.
  const first = await inHalves(items.slice(0, middle), execute);
  const second = await inHalves(items.slice(middle), execute);
  return {
    results: [...first.results, ...second.results],
    failed: new Map([...first.failed, ...second.failed]),
  };
}
