import { z } from "zod";
import type { RunId, TenantId } from "../../contracts/ids.ts";
import { TEST_TYPE } from "../../contracts/webhook.ts";
import { EndpointEvent, MAX_ENDPOINTS } from "../../contracts/webhook-endpoint.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import { activeWorkers } from "../workers/worker-rows.ts";

/** Those of the stored events that this version knows: an edge of a later version may have stored others. */
const KnownEvents = z
  .array(z.string())
  .transform((stored) => EndpointEvent.options.filter((event) => stored.includes(event)));

/** A webhook endpoint without its secrets. Times in milliseconds since 1970. */
const EndpointRow = z.object({
  endpoint_id: z.string(),
  tenant_id: z.string(),
  description: z.string(),
  url: z.string(),
  events: KnownEvents,
  disable_after_days: z.number(),
  /** The first failed try since the last success. */
  failing_since_ms: z.number().nullable(),
  disabled_at_ms: z.number().nullable(),
  disabled_reason: z.enum(["requested", "failing"]).nullable(),
  /** The end of the time in which the secret before the rotation signs too; in the past when it has ended. */
  previous_until_ms: z.number().nullable(),
  created_at_ms: z.number(),
  updated_at_ms: z.number(),
});
export type EndpointRow = z.infer<typeof EndpointRow>;

const columns = (sql: Sql) => sql`
  endpoint_id, tenant_id, description, url, array_to_json(events) as events, disable_after_days, disabled_reason,
  extract(epoch from failing_since)::float8 * 1000 as failing_since_ms,
  extract(epoch from disabled_at)::float8 * 1000 as disabled_at_ms,
  extract(epoch from previous_until)::float8 * 1000 as previous_until_ms,
  extract(epoch from created_at)::float8 * 1000 as created_at_ms,
  extract(epoch from updated_at)::float8 * 1000 as updated_at_ms`;

const one = (rows: readonly unknown[]): EndpointRow | null =>
  rows[0] === undefined ? null : EndpointRow.parse(rows[0]);

/** An endpoint as a request saves it. Secrets are sealed. */
export type EndpointToSave = {
  url: string;
  description: string;
  events: readonly EndpointEvent[];
  disable_after_days: number;
  /** Null: as it is; a new one is enabled. */
  enabled: boolean | null;
  /** The secret of the request; null: it keeps its own. */
  secret: string | null;
  /** The secret of an endpoint that is created by a request without one. */
  new_secret: string;
};

const SavedEndpoint = z.object({ created: z.boolean() });

/**
 * Creates an endpoint, or replaces it. Another URL, and enabling it, begin the count of its failures anew. Null when the tenant
 * has `MAX_ENDPOINTS` others, also when many are created at the same moment.
 */
export async function saveEndpoint(
  sql: Sql,
  tenant: TenantId,
  id: string,
  endpoint: EndpointToSave,
): Promise<{ row: EndpointRow; created: boolean } | null> {
  const isDisabled = endpoint.enabled === false;
  const [row] = await sql`
    insert into webhook_endpoints as e (tenant_id, endpoint_id, description, url, events, secret, disable_after_days,
      disabled_at, disabled_reason)
    select ${tenant}, ${id}, ${endpoint.description}, ${endpoint.url}, ${pgArray(endpoint.events)}::text[], ${endpoint.secret ?? endpoint.new_secret},
      ${endpoint.disable_after_days}::int, case when ${isDisabled} then now() end, case when ${isDisabled} then 'requested' end
    where other_webhook_endpoints(${tenant}, ${id}) < ${MAX_ENDPOINTS}
    on conflict (tenant_id, endpoint_id) do update set
      description = excluded.description, url = excluded.url, events = excluded.events,
      disable_after_days = excluded.disable_after_days, secret = coalesce(${endpoint.secret}::text, e.secret),
      ${
        endpoint.enabled === null
          ? sql``
          : endpoint.enabled
            ? sql`disabled_at = null, disabled_reason = null,`
            : sql`disabled_at = coalesce(e.disabled_at, now()), disabled_reason = coalesce(e.disabled_reason, 'requested'),`
      }
      failing_since = case when excluded.url = e.url and (e.disabled_at is null or ${endpoint.enabled !== true})
        then e.failing_since end,
      updated_at = now()
    returning ${columns(sql)}, xmax = 0 as created`;
  return row ? { row: EndpointRow.parse(row), created: SavedEndpoint.parse(row).created } : null;
}

/** One endpoint of a tenant; null: the tenant has none with this id. */
export async function readEndpoint(sql: Sql, tenant: TenantId, id: string): Promise<EndpointRow | null> {
  return one(
    await sql`
    select ${columns(sql)} from webhook_endpoints where tenant_id = ${tenant} and endpoint_id = ${id}`,
  );
}

/** A page of a tenant's endpoints, by their ids: those after `after`. */
export async function listEndpoints(
  sql: Sql,
  tenant: TenantId,
  after: string,
  limit: number,
): Promise<EndpointRow[]> {
  const rows = await sql`
    select ${columns(sql)} from webhook_endpoints
    where tenant_id = ${tenant} and endpoint_id > ${after} order by endpoint_id limit ${limit}`;
  return rows.map((row) => EndpointRow.parse(row));
}

/** Deletes an endpoint. Its pending deliveries are closed when they are due. @returns whether there was one */
export async function deleteEndpoint(sql: Sql, tenant: TenantId, id: string): Promise<boolean> {
  const rows = await sql`
    delete from webhook_endpoints where tenant_id = ${tenant} and endpoint_id = ${id} returning 1`;
  return rows.length > 0;
}

/** Enables an endpoint, and begins the count of its failures anew. Null when there is none. */
export async function enableEndpoint(sql: Sql, tenant: TenantId, id: string): Promise<EndpointRow | null> {
  return one(
    await sql`
    update webhook_endpoints set disabled_at = null, disabled_reason = null, failing_since = null,
      updated_at = case when disabled_at is null then updated_at else now() end
    where tenant_id = ${tenant} and endpoint_id = ${id} returning ${columns(sql)}`,
  );
}

/**
 * Gives an endpoint a new secret; the one before signs too for `overlapSeconds`. Null when there is no such endpoint, or the
 * overlap of a rotation before has not ended: a third secret would take the place of one that receivers still verify with.
 * Without an overlap every older secret ends at once.
 * @param secret sealed
 */
export async function rotateSecret(
  sql: Sql,
  tenant: TenantId,
  id: string,
  secret: string,
  overlapSeconds: number,
): Promise<EndpointRow | null> {
  const overlaps = overlapSeconds > 0;
  return one(
    await sql`
    update webhook_endpoints set secret = ${secret}, updated_at = now(),
      previous_secret = case when ${overlaps} then secret end,
      previous_until = case when ${overlaps} then now() + ${overlapSeconds}::int * interval '1 second' end
    where tenant_id = ${tenant} and endpoint_id = ${id}
      and (not ${overlaps} or previous_until is null or previous_until <= now())
    returning ${columns(sql)}`,
  );
}

/**
 * Inserts the delivery that tests an endpoint: it is due now and tried once. Its run does not exist; `run` makes its id unique.
 * @returns the id of the delivery; null when there is no such endpoint
 */
export async function insertTestDelivery(
  sql: Sql,
  tenant: TenantId,
  id: string,
  run: RunId,
): Promise<string | null> {
  const [row] = await sql<{ delivery_id: string }[]>`
    insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, endpoint_id, type, url, secret,
      status, tokens, cost_micro_usd, started_at, expires_at)
    select ${run.replace("run_", "whd_")} || '_0_' || endpoint_id, ${run}, 0, tenant_id, '', endpoint_id, ${TEST_TYPE}, url,
      secret, 'test', 0, 0, now(), now()
    from webhook_endpoints where tenant_id = ${tenant} and endpoint_id = ${id}
    returning delivery_id`;
  return row?.delivery_id ?? null;
}

/** Whether any active worker sends deliveries. */
export async function hasSender(sql: Sql): Promise<boolean> {
  const rows = await sql`select from (${activeWorkers(sql)}) w where 'webhooks' = any(lanes) limit 1`;
  return rows.length > 0;
}
