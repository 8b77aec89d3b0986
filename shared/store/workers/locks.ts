import type { Sql } from "../sql.ts";

/**
 * Takes or renews a lock of `locks` for `ms`, a minute at most.
 *
 * A lock whose end lies further ahead than a minute counts as free: it was written before Postgres' clock was set back.
 * @returns false while another holder has it
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
