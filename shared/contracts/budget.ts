import { z } from "zod";
import { DefinitionId, TenantId, plainName } from "./ids.ts";

/** The longest name of an end user that a budget can name. */
const MAX_USER_CHARS = 200;
/** Made once: making a schema costs more than the rest of a request. */
const EndUser = plainName(MAX_USER_CHARS);

/** In the scope of a budget: each end user has a budget of their own. */
const ANY_USER = "*";
export const EACH_USER = `user:${ANY_USER}`;

/** The end user of a run: `metadata.user`, if a budget can name it; else null, so that no budget of a user applies. */
export function endUserOf(metadata: { user?: unknown }): string | null {
  if (metadata.user === undefined) return null;
  const user = EndUser.safeParse(metadata.user);
  return user.success && user.data !== ANY_USER ? user.data : null;
}

const isScope = (scope: string): boolean => {
  if (scope === "tenant") return true;
  const [kind, ...rest] = scope.split(":");
  const name = rest.join(":");
  if (kind === "orchestration") return DefinitionId.safeParse(name).success;
  return kind === "user" && EndUser.safeParse(name).success;
};

/** The id of a budget, chosen by its author. */
export const BudgetId = DefinitionId.max(100);

/**
 * Whose money a budget limits: of all runs of a tenant, of the runs of one orchestration, of one end user (`metadata.user`), or with
 * `user:*` of each end user, who have the limit once each.
 */
const BudgetScope = z
  .string()
  .max(300)
  .refine(isScope, "must be tenant, orchestration:<id>, user:<metadata.user>, or user:* for each end user");

/** What happens to a model call that does not fit into what is left. */
export const AtLimit = z.enum(["fail", "pause", "downgrade"]);

/** Days and months are those of UTC. */
const BudgetPeriod = z.enum(["day", "month", "total"]);

/** USD with six decimals at most, as money is stored: a smaller part would be another limit than was sent. */
const usd = z
  .number()
  .min(0)
  .max(1_000_000_000)
  .refine((value) => Math.round(value * 1e6) / 1e6 === value, "must have six decimals at most");

/** A budget as a client writes it. */
export const BudgetRequest = z.object({
  tenant_id: TenantId.optional(),
  scope: BudgetScope,
  period: BudgetPeriod.default("month"),
  limit_usd: usd,
  at_limit: AtLimit.default("fail"),
  /** The cheaper model of `downgrade`. */
  downgrade_model: z.string().min(1).max(200).nullable().default(null),
});
export type BudgetRequest = z.infer<typeof BudgetRequest>;

/**
 * A budget with its current period. One with the scope `user:*` spends nothing itself: each end user who has made a call has a budget
 * `<id>:<user>`, whose `template_id` is that id. `reserved_usd`: the worst case of the model calls that are under way. */
export const Budget = BudgetRequest.extend({
  id: z.string(),
  template_id: z.string().nullable(),
  tenant_id: TenantId,
  period: BudgetPeriod,
  at_limit: AtLimit,
  downgrade_model: z.string().nullable(),
  spent_usd: z.number(),
  reserved_usd: z.number(),
  remaining_usd: z.number(),
  /** When the current period ends; null: never. */
  resets_at: z.iso.datetime().nullable(),
  updated_at: z.iso.datetime(),
});
export type Budget = z.infer<typeof Budget>;

/** What the wait of a run for a budget names, as JSON in its `fields`. `version`: of the budget that refused the call. */
export const BudgetWait = z.object({ budget_id: z.string(), version: z.number() });
export type BudgetWait = z.infer<typeof BudgetWait>;
