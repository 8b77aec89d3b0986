/** The most items of one request that are at work at the same time. */
const CONCURRENCY = 5;

/** Does `work` for all items, five at a time. @returns the results in the order of the items @throws what `work` throws */
export async function inGroups<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += CONCURRENCY) {
    results.push(...(await Promise.all(items.slice(at, at + CONCURRENCY).map(work))));
  }
  return results;
}
