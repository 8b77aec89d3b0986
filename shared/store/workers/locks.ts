import type { Sql } from "../sql.ts";

/**
 * Takes or keeps a lease row for `ms`, a minute at most: what lies further ahead was written before a clock was set back.
 * False while another holds it.
 */
export async function takeLock(sql: Sql, name: string, holder: string, ms: number): Promise<boolean> {
  const rows = await sql`
    insert into locks as l (name, holder, until)
    values (${name}, ${holder}, now() + ${ms} * interval '1 millisecond')
    on conflict (name) do update set holder = excluded.holder, until = excluded.until
      where l.holder = excluded.holder or l.until < now() or l.until > now() + interval '1 minute'
    returning 1`;
  return rows.length > 0;
}
