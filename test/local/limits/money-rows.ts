/** Limits of money, in thousandths of a USD. Three worst-case calls fit into each limit, and the rest is less than a fourth one. */
import { z } from "zod";
import type { Clients } from "./clients.ts";
import type { LimitRow } from "./limit-row.ts";

const LIMIT_USD = 1;
/** By `PRICE`, the longest answer of a call costs 300 thousandths, and its prompt almost nothing. */
const PRICE = { input_usd_per_million: 1, output_usd_per_million: 1_000, max_output_tokens: 300 };
const WORST_CALL = 301;

const Budgets = z.array(
  z.object({ template_id: z.string().nullable(), spent_usd: z.number(), reserved_usd: z.number() }),
);

export function moneyRows(clients: Clients): LimitRow[] {
  const idOf = (tenant: string) => `budget-${tenant}`;
  async function prepare(tenant: string): Promise<void> {
    await clients.limit(tenant, {});
    await clients.must("PUT", "/scale/model-prices", { model: "demo/fast", ...PRICE });
  }
  const saveBudget = (tenant: string, scope: string, limit_usd: number) =>
    clients.must("PUT", `/scale/budgets/${idOf(tenant)}`, {
      tenant_id: tenant,
      scope,
      period: "total",
      limit_usd,
      at_limit: "fail",
    });
  /** What the runs of the flood have spent, when all have ended. */
  async function spent(tenant: string, isOfUser: boolean): Promise<number> {
    await clients.allEnded(tenant);
    const all = Budgets.parse(await clients.must("GET", `/scale/budgets?tenant_id=${tenant}`));
    const budget = all.find(({ template_id }) => (template_id !== null) === isOfUser);
    if (budget?.reserved_usd !== 0) throw new Error(`${budget?.reserved_usd} USD are reserved at rest`);
    return Math.round(budget.spent_usd * 1_000);
  }
  async function settle(tenant: string): Promise<void> {
    await clients.must("DELETE", `/scale/budgets/${idOf(tenant)}?tenant_id=${tenant}`);
  }
  const limits = { most: LIMIT_USD * 1_000, least: 600, prepare, settle };

  return [
    {
      ...limits,
      name: "a budget",
      async flood(tenant) {
        await saveBudget(tenant, "tenant", LIMIT_USD);
        await clients.fifty(() => clients.start(tenant, "orch_paid"));
        return spent(tenant, false);
      },
    },
    {
      ...limits,
      name: "a budget of each end user",
      async flood(tenant) {
        await saveBudget(tenant, "user:*", LIMIT_USD);
        await clients.fifty(() => clients.start(tenant, "orch_paid", { metadata: { user: "ann" } }));
        return spent(tenant, true);
      },
    },
    {
      // The 50 children of the run are the clients. One call of the family may begin while less than its worst case is left.
      ...limits,
      name: "max_total_cost_usd of a run and the runs that it starts",
      most: LIMIT_USD * 1_000 + WORST_CALL,
      async flood(tenant) {
        await saveBudget(tenant, "tenant", 1_000); // The budget only counts.
        const items = await clients.fifty(async (n) => n);
        await clients.start(tenant, "orch_family", { state: { items } });
        return spent(tenant, false);
      },
    },
  ];
}
