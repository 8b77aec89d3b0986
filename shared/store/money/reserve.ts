import { z } from "zod";
import { AtLimit } from "../../contracts/budget.ts";
import { Incarnation, RunId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** A model call that is about to be made. Money in micro-dollars. */
export const CallToReserve = z.object({
  run_id: RunId,
  attempt: z.number().int(),
  owner: Incarnation,
  /** Unique among the calls of the run. */
  call: z.string(),
  /** The wait for a budget that the visit has had, if any: the reservation closes it. */
  wait_id: z.string().nullable(),
  /** Its worst case. */
  cost: z.number().int().nonnegative(),
});
export type CallToReserve = z.infer<typeof CallToReserve>;

/**
 * What became of a reservation. `reserved`: the cost is reserved in every budget of the run. `free`: no budget applies.
 * `busy`: it does not fit beside what other calls have reserved; later it may. `refused`: the named budget has no room for it.
 * `fenced`: another worker moves the run.
 */
export const Reservation = z.discriminatedUnion("outcome", [
  z.object({ outcome: z.enum(["reserved", "free", "busy", "fenced"]) }),
  z.object({
    outcome: z.literal("refused"),
    budget_id: z.string(),
    version: z.number(),
    at_limit: AtLimit,
    downgrade_model: z.string().nullable(),
    limit_micro_usd: z.number(),
    spent_micro_usd: z.number(),
    /** The time until its next period; null: it has none. */
    rolls_in_ms: z.number().nullable(),
  }),
]);
export type Reservation = z.infer<typeof Reservation>;

/**
 * Reserves a model call in all budgets of its run at once, or in none: docs/protocol.md 5.10. Calls of one tenant that have a
 * budget in common reserve one after the other, so together they never reserve more than is left. Repeating it for
 * the same call reserves nothing more.
 */
export async function reserveInBudgets(sql: Sql, call: CallToReserve): Promise<Reservation> {
  const { run_id, attempt, owner, wait_id, cost } = call;
  const [row] = await sql`
    select outcome, budget_id, version::float8 as version, at_limit, downgrade_model,
      limit_micro_usd::float8 as limit_micro_usd, spent_micro_usd::float8 as spent_micro_usd, rolls_in_ms
    from reserve_in_budgets(${run_id}, ${attempt}, ${owner}, ${call.call}, ${wait_id}, ${cost})`;
  return Reservation.parse(row);
}

/** Gives a reservation back: its call has used nothing. */
export async function releaseReservation(
  sql: Sql,
  { run_id, call }: Pick<CallToReserve, "run_id" | "call">,
): Promise<null> {
  await sql`delete from budget_calls where run_id = ${run_id} and call = ${call} and not charged`;
  return null;
}
