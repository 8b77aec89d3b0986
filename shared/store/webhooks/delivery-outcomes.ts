import { z } from "zod";
import { DeliveryId, DeliveryOutcome } from "../../contracts/webhook.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import type { DueDelivery } from "./claim-deliveries.ts";

/** The longest time between two tries. A delivery expires after a day, and an interval of Postgres has a maximum too. */
const MAX_RETRY_MS = 86_400_000;

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
 */
export async function saveDeliveryTry(sql: Sql, result: TryResult): Promise<DeliveryState> {
  const { delivery_id, tries, outcome, retry_ms, status, error } = result;
  const [row] = await sql<{ outcome: DeliveryOutcome | null }[]>`
    update webhook_deliveries d set sending = false, last_status = ${status}, last_error = ${error?.replaceAll("\0", "\uFFFD") ?? null},
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
    returning d.outcome`;
  return row ? (row.outcome ?? "pending") : "superseded";
}

/** Releases claimed deliveries that were not sent to the end: they are due at once. */
export async function releaseDeliveries(
  sql: Sql,
  claimed: readonly Pick<DueDelivery, "delivery_id" | "tries">[],
): Promise<void> {
  await sql`
    update webhook_deliveries d set sending = false, next_at = now()
    from unnest(
      ${pgArray(claimed.map((c) => c.delivery_id))}::text[], ${pgArray(claimed.map((c) => c.tries))}::int[]
    ) as released(delivery_id, tries)
    where d.delivery_id = released.delivery_id and d.tries = released.tries and d.sending and d.done_at is null`;
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
