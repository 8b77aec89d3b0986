import { z } from "zod";
import { RunId, TenantId } from "../../shared/contracts/ids.ts";

/** The permission of a viewer: an API key, or a stream token that was created with it and is valid until `untilMs`. */
const Grant = z.object({ keyId: z.string(), untilMs: z.number().nullable() });
export type Grant = z.infer<typeof Grant>;

/** A viewer that asks for the events of a run after number `after`. The edge authorises it and sends this to the relay. */
export const RunJoin = Grant.extend({
  run: RunId,
  after: z.number().int(),
  tenant: TenantId,
  /** The limit of open streams of the tenant; null: it is not known. */
  maxStreams: z.number().int().nullable().default(null),
});
/** A viewer without the limit, which `Services` adds. */
export type RunJoin = Omit<z.infer<typeof RunJoin>, "maxStreams">;

/** A viewer that asks for a tenant's feed, or with `tenant` null for that of all tenants. `lastUs`: the id of its last event. */
export const FeedJoin = Grant.omit({ untilMs: true }).extend({
  tenant: TenantId.nullable(),
  lastUs: z.number().nullable(),
  maxStreams: RunJoin.shape.maxStreams,
});
export type FeedJoin = Omit<z.infer<typeof FeedJoin>, "maxStreams">;
