/** How many definitions of a sync are at work at the same time: as many as a request has turns for statements. */
const CONCURRENCY = 5;

/** The results of `work` for all items, in their order, a few at a time. */
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
