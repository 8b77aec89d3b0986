import { z } from "zod";
import { DeliveryId, DeliveryOutcome } from "../../contracts/webhook.ts";
import type { DueDelivery } from "./claim-deliveries.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A try waits no longer for the next: a delivery lives for a day, and an interval has an end too. */
const LONGEST_RETRY_MS = 86_400_000;

/** What a try came to. `outcome` null: it failed, and is tried again in `retry_ms`. */
export const TryResult = z.object({
  delivery_id: DeliveryId,
  /** Which try it was. */
  tries: z.number().int(),
  outcome: z.enum(["delivered", "rejected"]).nullable(),
  retry_ms: z.number().nonnegative(),
  /** The HTTP status, when there was an answer. */
  status: z.number().int().nullable(),
  error: z.string().nullable(),
});
export type TryResult = z.infer<typeof TryResult>;

/** What has become of a delivery: `pending` when it is tried again; `lost`: somebody else tries it by now, or has it done. */
export const DeliveryState = z.enum([...DeliveryOutcome.options, "pending", "lost"]);
export type DeliveryState = z.infer<typeof DeliveryState>;

/**
 * Writes what a try came to. A delivery that is not taken within its time has expired; the last try is made when the
 * time is over, also when the receiver asked for a longer wait. No result is such that it cannot be written.
 */
export async function saveTry(sql: Sql, result: TryResult): Promise<DeliveryState> {
  const { delivery_id, tries, outcome, retry_ms, status, error } = result;
  const [row] = await sql<{ outcome: DeliveryOutcome | null }[]>`
    update webhook_deliveries d set sending = false, last_status = ${status}, last_error = ${error?.replaceAll("\0", "\uFFFD") ?? null},
      failures = d.failures + case when ${outcome}::text is null then 1 else 0 end,
      outcome = v.outcome,
      done_at = case when v.outcome is not null then now() end,
      next_at = case when v.outcome is null
        then least(now() + least(${retry_ms}::float8, ${LONGEST_RETRY_MS}) * interval '1 millisecond', d.expires_at) end
    from (
      select delivery_id, coalesce(${outcome}, case when expires_at <= now() then 'expired' end) as outcome
      from webhook_deliveries where delivery_id = ${delivery_id}
    ) v
    where d.delivery_id = v.delivery_id and d.tries = ${tries} and d.sending and d.done_at is null
    returning d.outcome`;
  return row ? (row.outcome ?? "pending") : "lost";
}

/** Gives deliveries back that were claimed and not sent to the end: they are due at once. */
export async function releaseDeliveries(
  sql: Sql,
  claimed: readonly Pick<DueDelivery, "delivery_id" | "tries">[],
): Promise<void> {
  await sql`
    update webhook_deliveries d set sending = false, next_at = now()
    from unnest(
      ${pgArray(claimed.map((c) => c.delivery_id))}::text[], ${pgArray(claimed.map((c) => c.tries))}::int[]
    ) as mine(delivery_id, tries)
    where d.delivery_id = mine.delivery_id and d.tries = mine.tries and d.sending and d.done_at is null`;
}

/** How many deliveries are due, and how many have been for a minute: as far as 100,000. */
export async function countDueDeliveries(sql: Sql): Promise<{ due: number; overdue: number }> {
  const [row] = await sql<{ due: number; overdue: number }[]>`
    select count(*)::int as due,
      (count(*) filter (where next_at < now() - interval '60 seconds'))::int as overdue
    from (
      select next_at from webhook_deliveries where done_at is null and next_at <= now() limit 100000
    ) d`;
  return row ?? { due: 0, overdue: 0 };
}
