import { z } from "zod";
import { DeliveryId, DeliveryOutcome, TEST_TYPE } from "../../contracts/webhook.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import type { DueDelivery } from "./claim-deliveries.ts";

/** The longest time between two tries. A delivery expires after a day, and an interval of Postgres has a maximum too. */
const MAX_RETRY_MS = 86_400_000;

/** The key and the action in the audit's row of an endpoint that its failures disabled: no client did it. The row's request is the delivery that failed. */
const SYSTEM = "system";
const DISABLED = "disableFailingWebhookEndpoint";

/** The result of one try. `outcome` null: it failed, and the next try is due in `retry_ms`. */
export const TryResult = z.object({
  delivery_id: DeliveryId,
  /** The number of the try: the fence. */
  tries: z.number().int(),
  outcome: z.enum(["delivered", "rejected"]).nullable(),
  retry_ms: z.number().nonnegative(),
  /** The HTTP status; null: there was no response. */
  status: z.number().int().nullable(),
  error: z.string().nullable(),
  /** Nothing was sent because of this installation, so the failure says nothing about the receiver. */
  sender_failed: z.literal(true).optional(),
});
export type TryResult = z.infer<typeof TryResult>;

/**
 * A delivery after a try. `pending`: it will be tried again. `superseded`: the fence does not hold, because another
 * worker has claimed the delivery since, an operator has made it due again, or it has an outcome.
 */
export const DeliveryState = z.enum([...DeliveryOutcome.options, "pending", "superseded"]);
export type DeliveryState = z.infer<typeof DeliveryState>;

/**
 * Saves the result of a try. A delivery that fails after `expires_at` has expired. The next try is due at `expires_at`
 * at the latest, also when the receiver asked for a longer wait. Every result can be saved: waits are bounded, and NUL
 * characters of an error are replaced.
 *
 * The result counts for the endpoint that the delivery goes to: a failure `disable_after_days` after the first one, without a
 * success in between, disables it, which the audit records.
 */
export async function saveDeliveryTry(sql: Sql, result: TryResult): Promise<DeliveryState> {
  const { delivery_id, tries, outcome, retry_ms, status, error } = result;
  const [row] = await sql<{ outcome: DeliveryOutcome | null }[]>`
    with saved as (
      update webhook_deliveries d set sending = false, last_status = ${status},
        last_error = ${error?.replaceAll("\0", "\uFFFD") ?? null},
        failures = d.failures + case when ${outcome}::text is null then 1 else 0 end,
        outcome = v.outcome,
        done_at = case when v.outcome is not null then now() end,
        next_at = case when v.outcome is null
          then least(now() + least(${retry_ms}::float8, ${MAX_RETRY_MS}) * interval '1 millisecond', d.expires_at) end
      from (
        select delivery_id, coalesce(${outcome}, case when expires_at <= now() then 'expired' end) as outcome
        from webhook_deliveries where delivery_id = ${delivery_id}
      ) v
      where d.delivery_id = v.delivery_id and d.tries = ${tries} and d.sending and d.done_at is null
      returning d.outcome, d.tenant_id, d.endpoint_id, d.type, d.url
    )${result.sender_failed ? sql`` : countForEndpoint(sql, outcome === "delivered", delivery_id)}
    select outcome from saved`;
  return row ? (row.outcome ?? "pending") : "superseded";
}

/**
 * The CTEs with which a try counts for its endpoint. The endpoint's row changes only with the first failure after a success, with the first
 * success after a failure, and when it is disabled: tries of one endpoint do not wait for each other. Tests do
 * not count, nor does a try that went to another URL than the endpoint has now.
 */
function countForEndpoint(sql: Sql, delivered: boolean, delivery: string) {
  const isOfSaved = sql`from saved s
      where e.tenant_id = s.tenant_id and e.endpoint_id = s.endpoint_id and e.url = s.url and s.type <> ${TEST_TYPE}`;
  if (delivered) {
    return sql`, recovered as (
      update webhook_endpoints e set failing_since = null ${isOfSaved} and e.failing_since is not null
    )`;
  }
  const isDue = sql`e.failing_since < now() - e.disable_after_days * interval '1 day'`;
  return sql`, failing as (
      update webhook_endpoints e set failing_since = coalesce(e.failing_since, now()),
        disabled_at = case when ${isDue} then now() end,
        disabled_reason = case when ${isDue} then 'failing' end
      ${isOfSaved} and e.disabled_at is null and (e.failing_since is null or ${isDue})
      returning e.tenant_id, e.endpoint_id, e.disabled_at
    ), recorded as (
      insert into audit (key_id, action, target, tenant_id, request_id, status)
      select ${SYSTEM}, ${DISABLED}, endpoint_id, tenant_id, ${delivery}, 200 from failing where disabled_at is not null
    )`;
}

/** Releases claimed deliveries that were not sent to the end: they are due at once. */
export async function releaseDeliveries(
  sql: Sql,
  claimed: readonly Pick<DueDelivery, "delivery_id" | "tries">[],
): Promise<null> {
  await sql`
    update webhook_deliveries d set sending = false, next_at = now()
    from unnest(
      ${pgArray(claimed.map((c) => c.delivery_id))}::text[], ${pgArray(claimed.map((c) => c.tries))}::int[]
    ) as released(delivery_id, tries)
    where d.delivery_id = released.delivery_id and d.tries = released.tries and d.sending and d.done_at is null`;
  return null;
}

/** The number of due deliveries, 100,000 at most, and of those that have been due for a minute (`overdue`). */
export async function countDueDeliveries(sql: Sql): Promise<{ due: number; overdue: number }> {
  const [row] = await sql<{ due: number; overdue: number }[]>`
    select count(*)::int as due,
      (count(*) filter (where next_at < now() - interval '60 seconds'))::int as overdue
    from (
      select next_at from webhook_deliveries where done_at is null and next_at <= now() limit 100000
    ) d`;
  return row ?? { due: 0, overdue: 0 };
}
