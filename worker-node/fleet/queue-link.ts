/**
 * What one worker knows of one queue shard, as a state machine. docs/protocol.md 5.2 and 11.
 *
 * | State     | Meaning                                                | Claims come from                |
 * |-----------|--------------------------------------------------------|---------------------------------|
 * | `unknown` | This process has not reached the shard yet.            | nowhere                         |
 * | `syncing` | The shard answers; its leases are being restored.      | nowhere                         |
 * | `up`      | The last claim was answered, and no call failed since. | the queue                       |
 * | `down`    | A call failed, or the shard is cold.                   | nowhere                         |
 * | `direct`  | The same for at least `directAfterMs`.                 | Postgres alone, once per second |
 *
 * In every state but `up` the worker synchronizes before it claims from the queue: it announces that the queue answers,
 * restores the leases of running runs and releases those that moved meanwhile. Runs that were claimed without the queue
 * take slots that the queue does not know of.
 */
export type QueueLink =
  | { is: "up" }
  /** `sinceMs`: since when nothing may be claimed from the queue, by the monotonic clock of this process. */
  | { is: "unknown" | "syncing" | "down" | "direct"; sinceMs: number };

/**
 * `answered`: the shard has an index and can be reached. `claimed`: it answered a claim. `failed`: a call to it failed, it
 * is cold, or the synchronization failed.
 */
export type LinkEvent = "answered" | "claimed" | "failed";

/** The state after an event at `nowMs`. An event never moves `sinceMs`, except that a failure of an `up` link sets it. */
export function nextLink(link: QueueLink, event: LinkEvent, nowMs: number, directAfterMs: number): QueueLink {
  if (event === "claimed") return { is: "up" };
  if (event === "answered") return link.is === "up" ? link : { is: "syncing", sinceMs: link.sinceMs };
  const sinceMs = link.is === "up" ? nowMs : link.sinceMs;
  return { is: nowMs - sinceMs >= directAfterMs ? "direct" : "down", sinceMs };
}
