/** The queue's reply for one run that is to be admitted. A refused run takes neither a place nor a token. */
export type QueueVerdict =
  /** The run has a reservation. */
  | { ok: true }
  /** The tenant's rate is used up; the next token comes in `retryMs`. */
  | { ok: false; reason: "rate"; retryMs: number }
  /** The tenant has `limit` runs queued or reserved, which is its quota. */
  | { ok: false; reason: "queued"; limit: number }
  /**
   * - `depth`: the shard has as many runs queued as it may.
   * - `disabled`: the tenant may not run anything.
   * - `unknown`: this Redis has no limits of the tenant; push them and admit again.
   * - `cold`: the shard has no index, and nothing is reserved.
   * - `rebuilding`: the run has a reservation, but the queue cannot check quota and depth yet. A caller that checks
   *   them in Postgres may accept the run.
   */
  | { ok: false; reason: "depth" | "disabled" | "unknown" | "cold" | "rebuilding" };

/** Reads one text of admit.lua's reply. */
export function readVerdict(text: string): QueueVerdict {
  const [word, value] = text.split(" ");
  switch (word) {
    case "ok":
      return { ok: true };
    case "rate":
      return { ok: false, reason: "rate", retryMs: Number(value) };
    case "queued":
      return { ok: false, reason: "queued", limit: Number(value) };
    case "depth":
    case "disabled":
    case "unknown":
    case "rebuilding":
      return { ok: false, reason: word };
    default:
      throw new Error(`admit.lua replied ${JSON.stringify(text)}, which is no verdict`);
  }
}
