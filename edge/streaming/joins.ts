import { z } from "zod";
import { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";

/** By what a viewer may watch: an API key, or a stream token that was created with it and is valid until `untilMs`. */
const Grant = z.object({ keyId: z.string(), untilMs: z.number().nullable() });
export type Grant = z.infer<typeof Grant>;

/** A viewer of the events of a run after number `after`. The edge sends it to the relay, which does not authorise. */
export const RunJoin = Grant.extend({ run: RunId, after: z.number().int(), tenant: z.string() });
export type RunJoin = z.infer<typeof RunJoin>;

/** A viewer of a feed: of a tenant, or of all tenants if `tenant` is null. `lastUs`: the id of its last event. */
export const FeedJoin = Grant.omit({ untilMs: true }).extend({
  tenant: TenantId.nullable(),
  lastUs: z.number().nullable(),
});
export type FeedJoin = z.infer<typeof FeedJoin>;

/** The viewers of one feed. They share one poll, but each of them has a stream and catches up. */
export const FEED_SEATS = { all: 100, tenant: 100, key: 50, stream: 50 };

/**
 * The seats of a relay. More viewers would not fit the memory and the time of one object; EVENT_SHARDS configures the
 * number of objects. A stream of n runs takes n seats.
 */
export const RUN_SEATS = { all: 2_000, tenant: 1_000, key: 750, stream: 500 };

const RETRY_AFTER_SECONDS = 10;

export function noSeat(): AppError {
  return new AppError(
    "too_many_streams",
    "This tenant or this key has too many open streams. Close some, or watch several runs in one stream.",
    { retryAfterSeconds: RETRY_AFTER_SECONDS },
  );
}
