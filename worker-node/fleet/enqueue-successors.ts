import { log, messageOf } from "../../shared/log.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { Committed } from "../../shared/store/journal/flush.ts";
import type { StateStore } from "../../shared/store/state.ts";

/**
 * Enqueues the runs that got the singleton keys of runs that a flush has ended. A failure costs them a delay: the due scan
 * finds them (docs/protocol.md 7.1).
 */
export function enqueueSuccessors(
  store: Pick<StateStore, "listSuccessors">,
  queue: Queue,
  committed: readonly Committed[],
): void {
  const ended = committed.filter(({ frees_key }) => frees_key).map(({ run_id }) => run_id);
  if (ended.length === 0) return;
  store
    .listSuccessors(ended)
    .then((runs) => enqueueDue(queue, runs))
    .catch((error: unknown) =>
      log.info("singleton.successors_not_enqueued", { runs: ended.length, message: messageOf(error) }),
    );
}
