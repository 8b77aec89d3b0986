import type { StateStore } from "../../shared/store/state.ts";

/** The same store; `wake` is called after each flush that committed a webhook delivery. */
export function wakeOnFlush(store: StateStore, wake: () => void): StateStore {
  return {
    ...store,
    async flush(entries) {
      const committed = await store.flush(entries);
      if (committed.some(({ webhook }) => webhook)) wake();
      return committed;
    },
  };
}
