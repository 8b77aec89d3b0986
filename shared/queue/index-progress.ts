import { z } from "zod";

/**
 * What a shard knows about its own completeness. Times are milliseconds of Postgres; minus infinity: nothing yet.
 */
export type IndexProgress = {
  /** The rebuild that made this index. */
  epoch: string;
  /** The position of the scan under way, as the reconciler wrote it. */
  scanned: string;
  /** Every run that was due by this time has been enqueued on the shard. */
  uptoMs: number;
  /** The shard knows every run that counts against a quota, so `admit` may count. */
  quotaReady: boolean;
  /** The shard has all limits that were changed by this time. */
  limitsUptoMs: number;
};

/** The epoch and position of a scan, as the reconciler expects them. If the shard has others, it may have lost enqueued jobs. */
export type KnownScan = Pick<IndexProgress, "epoch" | "scanned">;

const Fields = z.array(z.coerce.string());

/** Reads the reply of index.lua. */
export function readIndexProgress(reply: unknown): IndexProgress {
  const [epoch = "", scanned = "", upto = "", quotaReady, limitsUpto = ""] = Fields.parse(reply);
  return {
    epoch,
    scanned,
    uptoMs: readMs(upto),
    quotaReady: quotaReady === "1",
    limitsUptoMs: readMs(limitsUpto),
  };
}

function readMs(text: string): number {
  return text === "-inf" ? -Infinity : Number(text);
}
