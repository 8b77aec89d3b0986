import { z } from "zod";
import type { TenantId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** The model calls of one day (of UTC) and one model. `day` is `2026-06-04`. */
const UsageRow = z.object({
  day: z.string(),
  provider: z.string(),
  model: z.string(),
  calls: z.number(),
  input_tokens: z.number(),
  output_tokens: z.number(),
  cost_micro_usd: z.number(),
});
export type UsageRow = z.infer<typeof UsageRow>;

/**
 * What a tenant was charged from one day up to and including another, by day and model. Each call counts once, wasted or not: the rows with
 * which a parent has the use of its children are left out. So the sum over all days is the sum of the totals of its runs, as far
 * as the runs have used it themselves: both are written by the statement that commits a charge.
 */
export async function readUsage(sql: Sql, tenant: TenantId, from: string, to: string): Promise<UsageRow[]> {
  const rows = await sql`
    select to_char(at at time zone 'utc', 'YYYY-MM-DD') as day, provider, model, count(*)::float8 as calls,
      sum(input_tokens)::float8 as input_tokens, sum(output_tokens)::float8 as output_tokens,
      sum(cost_micro_usd)::float8 as cost_micro_usd
    from usage
    where tenant_id = ${tenant} and provider <> 'child_run'
      and at >= (${from}::text::timestamp at time zone 'utc')
      and at < (${to}::text::timestamp at time zone 'utc') + interval '1 day'
    group by 1, 2, 3 order by 1, 2, 3`;
  return rows.map((row) => UsageRow.parse(row));
}
