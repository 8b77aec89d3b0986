import type { Committed } from "../../shared/store/journal/flush.ts";
import type { StateStore } from "../../shared/store/state.ts";

/** The same store; `listener` is called after each flush with what was committed. */
export function onFlush(store: StateStore, listener: (committed: readonly Committed[]) => void): StateStore {
  return {
    ...store,
    async flush(entries) {
      const committed = await store.flush(entries);
      listener(committed);
      return committed;
    },
  };
}
