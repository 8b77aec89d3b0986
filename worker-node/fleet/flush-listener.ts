import type { Committed } from "../../shared/store/journal/flush.ts";
import type { StateStore } from "../../shared/store/state.ts";

/** The same store, which calls `listener` after each flush with the entries that were committed. */
export function withFlushListener(
  store: StateStore,
  listener: (committed: readonly Committed[]) => void,
): StateStore {
  return {
    ...store,
    async flush(entries) {
      const committed = await store.flush(entries);
      listener(committed);
      return committed;
    },
  };
}
