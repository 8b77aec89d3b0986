import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";

/** By what a viewer may watch: an API key, or a stream token that was created with it and is valid until `untilMs`. */
const Grant = z.object({ keyId: z.string(), untilMs: z.number().nullable() });
export type Grant = z.infer<typeof Grant>;

/** A viewer of the events of a run after number `after`. The edge sends it to the relay, which does not authorise. */
export const RunJoin = Grant.extend({ run: RunId, after: z.number().int(), tenant: z.string() });
export type RunJoin = z.infer<typeof RunJoin>;

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
