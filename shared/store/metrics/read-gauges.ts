import { z } from "zod";
import { NO_BYTES_LIMIT } from "../../contracts/tenant.ts";
import type { Sql } from "../sql.ts";

/** The most overdue mails that are counted, and the most tenants whose files are shown: those with the most bytes. */
const MOST_MAILS = 10_000;
const TENANTS = 1_000;

/** What Postgres knows of the fleet now, beside its counters. `most` null: the tenant has no limit. */
const Gauges = z.object({
  overdue_mails: z.number(),
  archive_lag_seconds: z.number(),
  file_bytes: z.array(z.object({ tenant_id: z.string(), bytes: z.number(), most: z.number().nullable() })),
});
export type Gauges = z.infer<typeof Gauges>;

/**
 * Reads the gauges of Postgres. An overdue mail has been due for a minute. The archive's lag is the longest time of a journal beyond
 * the one at which it should have been archived (docs/protocol.md 7.14); 0: all are where they belong. Cost: one index row for each tenant with journals to archive.
 */
export async function readGauges(sql: Sql): Promise<Gauges> {
  const [row] = await sql`
    with recursive waiting as (
      (select tenant_id, ended_at from journals_to_archive order by tenant_id, ended_at limit 1)
      union all
      select n.* from waiting w cross join lateral (
        select tenant_id, ended_at from journals_to_archive j where j.tenant_id > w.tenant_id
        order by tenant_id, ended_at limit 1) n
    ), changes as (
      select tenant_id, sum(bytes) as bytes from file_bytes_changes group by tenant_id
    ), files as (
      select tenant_id, (coalesce(f.bytes, 0) + coalesce(c.bytes, 0))::float8 as bytes
      from file_bytes f full join changes c using (tenant_id)
    )
    select (
        select count(*)::int from (
          select from mails where done_at is null and next_at < now() - interval '1 minute' limit ${MOST_MAILS}) m
      ) as overdue_mails,
      coalesce((
        select greatest(0, max(extract(epoch from now() - interval '25 hours' - w.ended_at)
          - (coalesce((t.retention->>'journal_days')::int, 1) - 1) * 86400.0))
        from waiting w join tenants t using (tenant_id)
      ), 0)::float8 as archive_lag_seconds,
      coalesce((
        select json_agg(json_build_object('tenant_id', tenant_id, 'bytes', bytes,
          'most', nullif(t.max_total_artifact_bytes, ${NO_BYTES_LIMIT}::bigint)) order by bytes desc)
        from (select * from files where bytes > 0 order by bytes desc limit ${TENANTS}) shown
        join tenants t using (tenant_id)
      ), '[]') as file_bytes`;
  return Gauges.parse(row);
}
