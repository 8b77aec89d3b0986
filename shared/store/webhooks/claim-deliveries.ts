import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import { DeliveryId, DeliveryType, EndpointId, TEST_TYPE } from "../../contracts/webhook.ts";
import { WEBHOOK_LEASE_MS } from "../../timing.ts";
import { turnOfDelivery } from "../chat/messages.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** The most open requests of one worker to one receiver, and for one tenant. A worker has 64 slots for them. */
const MAX_PER_RECEIVER = 16;
const MAX_PER_TENANT = 32;

/**
 * Receivers that one claim examines. With 200,000 deliveries due for 10,000 receivers a claim takes 35 ms, and 100 ms
 * when it examines 1,000 of them.
 */
const RECEIVERS_PER_CLAIM = 200;

/** A receiver: a host with its port, of one tenant. */
export const Receiver = z.object({ tenant_id: z.string(), host: z.string() });
export type Receiver = z.infer<typeof Receiver>;

/** A receiver, and the number of requests that the claiming worker has open to it. */
export const BusyReceiver = Receiver.extend({ n: z.number().int().positive() });
export type BusyReceiver = z.infer<typeof BusyReceiver>;

/** A delivery to be sent now. Times in milliseconds since 1970. */
export const DueDelivery = Receiver.extend({
  delivery_id: DeliveryId,
  /** The run, and the number of the journal entry that the delivery reports. `readEvents` reads that entry's events. */
  run_id: RunId,
  seq: z.number(),
  orchestration_id: z.string(),
  type: DeliveryType,
  url: z.string(),
  /** The endpoint that it goes to; null: the webhook of its run. */
  endpoint_id: EndpointId.nullable().default(null),
  /** Of a child's question: the run at the top of its family, whose webhook it goes to if it goes to no endpoint. Else null. */
  root_run_id: RunId.nullable().default(null),
  /** The present secret of the endpoint, sealed for it; of the webhook of a run, that of the run, sealed for the run. */
  secret: z.string().nullable(),
  /** The endpoint's secret before a rotation, as long as it signs too. */
  previous_secret: z.string().nullable().default(null),
  status: z.string(),
  tokens: z.number(),
  cost_micro_usd: z.number(),
  started_at_ms: z.number().nullable(),
  ended_at_ms: z.number().nullable(),
  /** JSON text of RunError. */
  error: z.string().nullable(),
  /** JSON text of the client's metadata; null when the run has been deleted, or the edge is older than this field. */
  metadata: z.string().nullable().default(null),
  /** The context in which its run was started; null: it has none, or has been deleted. */
  traceparent: z.string().nullable().default(null),
  /** Of a chat turn: JSON text of its session and its reply. */
  turn: z.string().nullable().default(null),
  /**
   * The number of this claim of the delivery: the fence. So it is at least the number of requests that were sent (a
   * claim can be released, or lapse).
   */
  tries: z.number(),
  /** Requests that have failed since the delivery was made due. */
  failures: z.number(),
});
export type DueDelivery = z.infer<typeof DueDelivery>;

/** The result of a claim. */
export const ClaimedDeliveries = z.object({
  deliveries: z.array(DueDelivery),
  /** The last receiver that was examined, when there are more of them: the next claim goes on after it. */
  after: Receiver.nullable(),
  /** The number of due deliveries that another claimer had locked. More may be due after them. */
  missed: z.number(),
  /** The number of due deliveries that were closed as expired: see `claimDeliveries`. */
  expired: z.number(),
  /** The number of due deliveries that were closed because their endpoint is disabled or was deleted. */
  withdrawn: z.number().default(0),
});
export type ClaimedDeliveries = z.infer<typeof ClaimedDeliveries>;

/**
 * Claims up to `slots` due deliveries, with receivers taking turns, and sets their wake-up to the end of the lease: a
 * delivery whose result is not saved by then is due again. docs/protocol.md 7.7.
 *
 * A delivery that was tried and whose `expires_at` passed an hour ago is closed as expired, whatever the
 * result of its last try. Otherwise it would be sent again and again for as long as results cannot be written.
 *
 * A delivery to an endpoint goes to its URL of now. When the endpoint is disabled or was deleted, the delivery is closed as
 * rejected; only a test goes to a disabled endpoint.
 *
 * Cost: O(receivers with pending deliveries), not O(deliveries), and next to nothing when none is due.
 * @param busy the worker's open requests: receivers and tenants at their maximum are left out
 * @param after the receiver after which to go on; null: from the first one
 * @param signs false: the worker has no key to open secrets with, and leaves deliveries with a secret to other workers
 */
export async function claimDeliveries(
  sql: Sql,
  slots: number,
  busy: readonly BusyReceiver[],
  after: Receiver | null,
  signs = true,
): Promise<ClaimedDeliveries> {
  const full = pgArray(fullTenants(busy));
  const rows = await sql`
    with recursive busy as (
      select * from unnest(
        ${pgArray(busy.map((b) => b.tenant_id))}::text[], ${pgArray(busy.map((b) => b.host))}::text[],
        ${pgArray(busy.map((b) => b.n))}::int[]
      ) as b(tenant_id, host, n)
    ), receivers as (
      (select tenant_id, host, 1 as place from webhook_deliveries
       where done_at is null and (tenant_id, host) > (${after?.tenant_id ?? ""}::text, ${after?.host ?? ""}::text)
         and exists (select from webhook_deliveries where done_at is null and next_at <= now())
       order by tenant_id, host limit 1)
      union all
      select next.tenant_id, next.host, r.place + 1
      from receivers r cross join lateral (
        (select d.tenant_id, d.host from webhook_deliveries d
         where r.tenant_id <> all(${full}::text[]) and d.done_at is null
           and (d.tenant_id, d.host) > (r.tenant_id, r.host)
         order by d.tenant_id, d.host limit 1)
        union all
        (select d.tenant_id, d.host from webhook_deliveries d
         where r.tenant_id = any(${full}::text[]) and d.done_at is null and d.tenant_id > r.tenant_id
         order by d.tenant_id, d.host limit 1)
      ) next
      where r.place < ${RECEIVERS_PER_CLAIM}
    ), due as (
      select d.delivery_id, d.next_at, d.place, r.tenant_id
      from receivers r
      left join busy b using (tenant_id, host)
      cross join lateral (
        select w.delivery_id, w.next_at, row_number() over (order by w.next_at) as place
        from webhook_deliveries w
        where w.done_at is null and w.tenant_id = r.tenant_id and w.host = r.host and w.next_at <= now()
          and (${signs} or w.secret is null)
        order by w.next_at limit greatest(0, ${MAX_PER_RECEIVER} - coalesce(b.n, 0))
      ) d
      where r.tenant_id <> all(${full}::text[])
    ), with_turn as (
      select delivery_id, place, next_at, coalesce((select sum(n) from busy b where b.tenant_id = due.tenant_id), 0)
        + row_number() over (partition by tenant_id order by place, next_at) as tenant_place
      from due
    ), chosen as (
      select delivery_id from with_turn where tenant_place <= ${MAX_PER_TENANT} order by place, next_at limit ${slots}
    ), unlocked as (
      select delivery_id, tries > 0 and expires_at < now() - interval '1 hour' as has_expired,
        endpoint_id is not null and not exists (
          select from webhook_endpoints e where e.tenant_id = d.tenant_id and e.endpoint_id = d.endpoint_id
            and (e.disabled_at is null or d.type = ${TEST_TYPE})) as is_withdrawn
      from webhook_deliveries d
      where delivery_id = any(array(select delivery_id from chosen)) and done_at is null and next_at <= now()
      for update of d skip locked
    ), closed as (
      update webhook_deliveries d set sending = false, next_at = null, done_at = now(),
        outcome = case when u.is_withdrawn then 'rejected' else 'expired' end,
        last_error = case when u.is_withdrawn then 'the webhook endpoint is disabled or was deleted'
          else coalesce(d.last_error, 'no outcome of a try was ever written') end
      from unlocked u where d.delivery_id = u.delivery_id and (u.has_expired or u.is_withdrawn)
    ), claimed as (
      update webhook_deliveries d set tries = d.tries + 1, sending = true,
        next_at = now() + ${WEBHOOK_LEASE_MS} * interval '1 millisecond',
        url = coalesce((select e.url from webhook_endpoints e
          where e.tenant_id = d.tenant_id and e.endpoint_id = d.endpoint_id), d.url)
      from unlocked u where d.delivery_id = u.delivery_id and not u.has_expired and not u.is_withdrawn
      returning d.*
    )
    select last.tenant_id as last_tenant, last.host as last_host,
      ((select count(*) from chosen) - (select count(*) from unlocked))::int as missed,
      (select count(*) from unlocked where has_expired and not is_withdrawn)::int as expired,
      (select count(*) from unlocked where is_withdrawn)::int as withdrawn,
      c.delivery_id, c.run_id, c.seq, c.tenant_id, c.host,
      c.orchestration_id, c.type, c.url, c.endpoint_id, c.root_run_id, coalesce(e.secret, c.secret) as secret,
      case when e.previous_until > now() then e.previous_secret end as previous_secret, c.status, c.tokens::float8 as tokens,
      c.cost_micro_usd::float8 as cost_micro_usd, c.error, c.tries, c.failures,
      r.metadata, r.traceparent, ${turnOfDelivery(sql)},
      extract(epoch from c.started_at)::float8 * 1000 as started_at_ms,
      extract(epoch from c.ended_at)::float8 * 1000 as ended_at_ms
    from (select) one
    left join (select tenant_id, host from receivers where place = ${RECEIVERS_PER_CLAIM}) last on true
    left join claimed c on true
    left join webhook_endpoints e on e.tenant_id = c.tenant_id and e.endpoint_id = c.endpoint_id
    left join runs r on r.run_id = c.run_id`;
  const [first] = rows;
  const last = Receiver.safeParse({ tenant_id: first?.["last_tenant"], host: first?.["last_host"] });
  return {
    deliveries: rows.flatMap((row) => (row["delivery_id"] === null ? [] : [DueDelivery.parse(row)])),
    after: last.data ?? null,
    missed: Number(first?.["missed"] ?? 0),
    expired: Number(first?.["expired"] ?? 0),
    withdrawn: Number(first?.["withdrawn"] ?? 0),
  };
}

function fullTenants(busy: readonly BusyReceiver[]): string[] {
  const openRequests = new Map<string, number>();
  for (const { tenant_id, n } of busy) openRequests.set(tenant_id, (openRequests.get(tenant_id) ?? 0) + n);
  return [...openRequests].flatMap(([tenant, n]) => (n >= MAX_PER_TENANT ? [tenant] : []));
}
