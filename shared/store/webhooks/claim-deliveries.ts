import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import { DeliveryId, DeliveryType } from "../../contracts/webhook.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** How long a delivery belongs to the worker that claimed it: longer than its request may take. */
export const SENDING_LEASE_MS = 20_000;

/** Requests that one worker has open at once: to one receiver, and for one tenant; it has 64 slots for them. */
const PER_RECEIVER = 16;
const PER_TENANT = 32;

/**
 * Receivers that one claim looks at. With 200,000 deliveries due for 10,000 of them a claim takes 35 ms, and 100 ms
 * when it looks at 1,000.
 */
const RECEIVERS = 200;

/** Who receives: a host and port, of one tenant. */
export const Receiver = z.object({ tenant_id: z.string(), host: z.string() });
export type Receiver = z.infer<typeof Receiver>;

/** A receiver and how many requests the claiming worker has open to it. */
export const BusyReceiver = Receiver.extend({ n: z.number().int().positive() });
export type BusyReceiver = z.infer<typeof BusyReceiver>;

/** A delivery to be sent now. Times in milliseconds since 1970. */
export const DueDelivery = Receiver.extend({
  delivery_id: DeliveryId,
  /** The run and the number of its journal's entry that it tells of: `readEvents` has what that says. */
  run_id: RunId,
  seq: z.number(),
  orchestration_id: z.string(),
  type: DeliveryType,
  url: z.string(),
  /** Sealed for its run. */
  secret: z.string().nullable(),
  status: z.string(),
  tokens: z.number(),
  cost_micro_usd: z.number(),
  started_at_ms: z.number().nullable(),
  ended_at_ms: z.number().nullable(),
  /** JSON text of RunError. */
  error: z.string().nullable(),
  /**
   * Which claim of it this is: the fence, and so at least as many as requests were sent (a claim may be given back, or
   * lapse). `failures`: how many requests have failed since it was made due.
   */
  tries: z.number(),
  failures: z.number(),
});
export type DueDelivery = z.infer<typeof DueDelivery>;

export const ClaimedDeliveries = z.object({
  deliveries: z.array(DueDelivery),
  /** Where the look ended, when there are more receivers than one look takes. */
  after: Receiver.nullable(),
  /** What was due, and was in another claimer's hands at that moment. Behind it more may be due. */
  missed: z.number(),
  /** What was due, and is over: see `claimDeliveries`. */
  expired: z.number(),
});
export type ClaimedDeliveries = z.infer<typeof ClaimedDeliveries>;

/**
 * Takes up to `slots` due deliveries, in turns between receivers, and pushes their wake-up past the request's own limit:
 * if they are not heard of by then, they are due again. docs/protocol.md 7.7.
 *
 * One that was tried and whose time has been over for an hour has expired, whatever became of its last try: where
 * outcomes cannot be written it would be sent for ever.
 *
 * Costs what receivers there are, not how much waits for them; and nothing to speak of when nothing is due.
 * @param busy what this worker has open: a receiver, or a tenant, that has enough of it is left out
 * @param after the receiver to go on behind; null: from the first
 * @param signs false: the worker has no key to open secrets with, and leaves what has one to others
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
      where r.place < ${RECEIVERS}
    ), due as (
      select d.delivery_id, d.next_at, d.place, r.tenant_id
      from receivers r
      left join busy b using (tenant_id, host)
      cross join lateral (
        select w.delivery_id, w.next_at, row_number() over (order by w.next_at) as place
        from webhook_deliveries w
        where w.done_at is null and w.tenant_id = r.tenant_id and w.host = r.host and w.next_at <= now()
          and (${signs} or w.secret is null)
        order by w.next_at limit greatest(0, ${PER_RECEIVER} - coalesce(b.n, 0))
      ) d
      where r.tenant_id <> all(${full}::text[])
    ), placed as (
      select delivery_id, place, next_at, coalesce((select sum(n) from busy b where b.tenant_id = due.tenant_id), 0)
        + row_number() over (partition by tenant_id order by place, next_at) as of_tenant
      from due
    ), chosen as (
      select delivery_id from placed where of_tenant <= ${PER_TENANT} order by place, next_at limit ${slots}
    ), free as (
      select delivery_id, tries > 0 and expires_at < now() - interval '1 hour' as is_over from webhook_deliveries
      where delivery_id = any(array(select delivery_id from chosen)) and done_at is null and next_at <= now()
      for update skip locked
    ), expired as (
      update webhook_deliveries d set sending = false, next_at = null, done_at = now(), outcome = 'expired',
        last_error = coalesce(d.last_error, 'no outcome of a try was ever written')
      from free f where d.delivery_id = f.delivery_id and f.is_over
    ), claimed as (
      update webhook_deliveries d set tries = d.tries + 1, sending = true,
        next_at = now() + ${SENDING_LEASE_MS} * interval '1 millisecond'
      from free f where d.delivery_id = f.delivery_id and not f.is_over
      returning d.*
    )
    select last.tenant_id as last_tenant, last.host as last_host,
      ((select count(*) from chosen) - (select count(*) from free))::int as missed,
      (select count(*) from free where is_over)::int as expired,
      c.delivery_id, c.run_id, c.seq, c.tenant_id, c.host,
      c.orchestration_id, c.type, c.url, c.secret, c.status, c.tokens::float8 as tokens,
      c.cost_micro_usd::float8 as cost_micro_usd, c.error, c.tries, c.failures,
      extract(epoch from c.started_at)::float8 * 1000 as started_at_ms,
      extract(epoch from c.ended_at)::float8 * 1000 as ended_at_ms
    from (select) one
    left join (select tenant_id, host from receivers where place = ${RECEIVERS}) last on true
    left join claimed c on true`;
  const [first] = rows;
  const last = Receiver.safeParse({ tenant_id: first?.["last_tenant"], host: first?.["last_host"] });
  return {
    deliveries: rows.flatMap((row) => (row["delivery_id"] === null ? [] : [DueDelivery.parse(row)])),
    after: last.data ?? null,
    missed: Number(first?.["missed"] ?? 0),
    expired: Number(first?.["expired"] ?? 0),
  };
}

function fullTenants(busy: readonly BusyReceiver[]): string[] {
  const open = new Map<string, number>();
  for (const { tenant_id, n } of busy) open.set(tenant_id, (open.get(tenant_id) ?? 0) + n);
  return [...open].flatMap(([tenant, n]) => (n >= PER_TENANT ? [tenant] : []));
}

/**
 * The event lines of a journal's entry; null when it is not there any more. Asked for one delivery when it is sent:
 * 64 of them in one answer could be of any length.
 */
export async function readEvents(sql: Sql, run: RunId, seq: number): Promise<string | null> {
  const [row] = await sql<{ events: string }[]>`
    select events from journal where run_id = ${run} and seq = ${seq}`;
  return row?.events ?? null;
}
