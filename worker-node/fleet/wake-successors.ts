import { log, messageOf } from "../../shared/log.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { StateStore } from "../../shared/store/state.ts";

/**
 * The same store. After a flush that ended runs with a singleton key, the runs that got their keys are enqueued. A failure
 * costs them a delay: the due scan finds them (docs/protocol.md 7.1).
 */
export function wakeSuccessors(store: StateStore, queue: Queue): StateStore {
  return {
    ...store,
    async flush(entries) {
      const committed = await store.flush(entries);
      const ended = committed.filter(({ frees_key }) => frees_key).map(({ run_id }) => run_id);
      if (ended.length > 0) void enqueueSuccessors(ended);
      return committed;
    },
  };

  async function enqueueSuccessors(ended: Parameters<StateStore["listSuccessors"]>[0]): Promise<void> {
    try {
      await enqueueDue(queue, await store.listSuccessors(ended));
    } catch (error) {
      log.info("singleton.successors_not_enqueued", { runs: ended.length, message: messageOf(error) });
    }
  }
}
