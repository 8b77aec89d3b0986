import { z } from "zod";
import { DefinitionId, TenantId, plainName } from "./ids.ts";

/** The longest name of an end user that a budget can name. */
const MAX_USER_CHARS = 200;
/** Made once: making a schema costs more than the rest of a request. */
const EndUser = plainName(MAX_USER_CHARS);

/** Stands for the name of an end user in the scope of a template. */
const ANY_USER = "*";
/** The scope of a template, `user:*`: each end user gets a budget of their own from it. */
export const EACH_USER = `user:${ANY_USER}`;

/**
 * The end user of a run: `metadata.user`, if a budget can name it, a whole number by its digits; else null, so that no budget of
 * a user applies.
 */
export function endUserOf({ user: named }: { user?: unknown }): string | null {
  if (named === undefined) return null;
  const isId = typeof named === "number" && Number.isSafeInteger(named);
  const user = EndUser.safeParse(isId ? String(named) : named);
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
 * The runs whose spending a budget limits: all runs of a tenant, those of one orchestration, or those of one end user
 * (`metadata.user`). With `user:*` each end user has the whole limit.
 */
const BudgetScope = z
  .string()
  .max(300)
  .refine(isScope, "must be tenant, orchestration:<id>, user:<metadata.user>, or user:* for each end user");

/** What becomes of a model call whose worst case exceeds what is left of a budget. */
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
 * A budget with its current period. A template (scope `user:*`) spends nothing itself: each end user with a model call has a budget
 * `<id>:<user>`, whose `template_id` is the template's id. `reserved_usd`: the worst case of the model calls that are under way.
 */
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

/** The budget for which a wait waits, as JSON in the wait's `fields`. `version`: that of the budget when it refused the call. */
export const BudgetWait = z.object({ budget_id: z.string(), version: z.number() });
export type BudgetWait = z.infer<typeof BudgetWait>;
