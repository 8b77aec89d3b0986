import type { Context } from "hono";
import type { TenantId } from "../../shared/contracts/ids.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "../http/api.ts";
import { fromObject } from "./open-stream.ts";

/** An older id is refused, because the feed would have to read everything since then. */
const MAX_ID_AGE_MS = 24 * 3_600_000;

/**
 * Streams the events of all runs of a tenant (null: of all tenants), from now on or from 15 s before `lastId`.
 * @throws AppError `bad_event_id`: malformed or older than a day; `too_many_streams`
 */
export function openFeed(
  c: Context<ApiEnv>,
  principal: Principal,
  tenant: TenantId | null,
  lastId: string | undefined,
): Promise<Response> {
  const join = { keyId: principal.key_id, tenant, lastUs: readFeedId(lastId) };
  return fromObject(c, () => c.get("services").feed(join, c.req.raw.signal));
}

/** The time of an id, in microseconds; null: there is no id, or it is the id of the start, which for a feed means now. */
function readFeedId(id: string | undefined): number | null {
  if (id === undefined || id === "" || id === "0" || id === "0-0") return null;
  if (!/^[0-9]{1,16}$/.test(id))
    throw new AppError(
      "bad_event_id",
      "Last-Event-ID is not an id of this feed. Send the id of an event that it sent, or none.",
    );
  // Two clocks are compared here (the edge's and Postgres'); a day is long against their difference.
  if (Number(id) / 1_000 < Date.now() - MAX_ID_AGE_MS)
    throw new AppError(
      "bad_event_id",
      "This Last-Event-ID is more than a day old. Open the feed without a Last-Event-ID.",
    );
  return Number(id);
}
