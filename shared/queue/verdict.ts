/** What is left of each limit of a tenant, right after one of its runs was admitted. */
export type Quota = {
  requests: { perSecond: number; left: number };
  queued: { limit: number; left: number };
  /** Null: the tenant has no such limit. `resetMs`: when the minute forgets its oldest run. */
  runs: { perMinute: number; left: number; resetMs: number } | null;
};

/** The queue's reply for one run that is to be admitted. A refused run takes neither a place nor a token. */
export type QueueVerdict =
  /** The run has a reservation. `quota` null: the queue knew the run before, and has not counted. */
  | { ok: true; quota: Quota | null }
  /** The tenant's rate is used up; the next token comes in `retryMs`. */
  | { ok: false; reason: "rate"; limit: number; retryMs: number }
  /** The tenant has started `limit` runs in the last minute; the next one may start in `retryMs`. */
  | { ok: false; reason: "minute"; limit: number; retryMs: number }
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
  const [word, ...rest] = text.split(" ");
  const [first = NaN, second = NaN] = rest.map(Number);
  switch (word) {
    case "ok":
      return { ok: true, quota: rest.length === 0 ? null : quotaOf(rest.map(Number)) };
    case "rate":
    case "minute":
      return { ok: false, reason: word, limit: first, retryMs: second };
    case "queued":
      return { ok: false, reason: "queued", limit: first };
    case "depth":
    case "disabled":
    case "unknown":
    case "rebuilding":
      return { ok: false, reason: word };
    default:
      throw new Error(`admit.lua replied ${JSON.stringify(text)}, which is no verdict`);
  }
}

function quotaOf([
  perSecond = 0,
  tokens = 0,
  limit = 0,
  places = 0,
  perMinute,
  runs,
  resetMs,
]: number[]): Quota {
  const counted = perMinute !== undefined && runs !== undefined && resetMs !== undefined;
  return {
    requests: { perSecond, left: tokens },
    queued: { limit, left: places },
    runs: counted ? { perMinute, left: runs, resetMs } : null,
  };
}
