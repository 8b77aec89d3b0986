import { z } from "zod";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** The columns with sealed values, in the order in which they are read. */
export const SealedColumn = z.enum([
  "run",
  "delivery",
  "endpoint",
  "endpoint_before",
  "trigger",
  "tool",
  "mcp_server",
  "setting",
  "mail_server",
  "provider_key",
]);
export type SealedColumn = z.infer<typeof SealedColumn>;

type Location = { table: string; column: string; key: readonly [string, string?]; page: number };

/**
 * The table, the column and the key of each. `page`: the rows of a page. It has many runs or deliveries, because most have no secret, and
 * few definitions, because they are long.
 */
const locations: Record<SealedColumn, Location> = {
  run: { table: "runs", column: "webhook_secret", key: ["run_id"], page: 1_000 },
  delivery: { table: "webhook_deliveries", column: "secret", key: ["delivery_id"], page: 1_000 },
  endpoint: { table: "webhook_endpoints", column: "secret", key: ["tenant_id", "endpoint_id"], page: 200 },
  endpoint_before: {
    table: "webhook_endpoints",
    column: "previous_secret",
    key: ["tenant_id", "endpoint_id"],
    page: 200,
  },
  trigger: { table: "triggers", column: "secret", key: ["trigger_id"], page: 200 },
  tool: { table: "tools", column: "definition", key: ["tenant_id", "id"], page: 20 },
  mcp_server: { table: "mcp_servers", column: "definition", key: ["tenant_id", "id"], page: 20 },
  mail_server: { table: "mail_servers", column: "smtp_url", key: ["tenant_id"], page: 200 },
  provider_key: { table: "provider_keys", column: "api_key", key: ["tenant_id", "provider"], page: 200 },
  setting: { table: "settings", column: "value", key: ["name"], page: 200 },
};

/** A row after which a page begins: both parts of its key; the second is empty where a key has one part. */
export const SealedPosition = z.object({ column: SealedColumn, key: z.string(), key2: z.string() });
export type SealedPosition = z.infer<typeof SealedPosition>;

/** A row with sealed values. Of a delivery `of_run`: the run whose webhook it goes to; `of_tenant`, `of_endpoint`: its tenant and endpoint. Else null. */
export const SealedRow = z.object({
  key: z.string(),
  key2: z.string(),
  text: z.string(),
  of_run: z.string().nullable(),
  of_tenant: z.string().nullable(),
  of_endpoint: z.string().nullable(),
});
export type SealedRow = z.infer<typeof SealedRow>;

/** `next`: where the next page of the same column begins; null: it was the last one. */
export const SealedPage = z.object({
  rows: z.array(SealedRow),
  next: SealedPosition.nullable(),
});
export type SealedPage = z.infer<typeof SealedPage>;

/** A page of the rows of a column after a position, by their keys. */
export async function readSealed(sql: Sql, after: SealedPosition): Promise<SealedPage> {
  const { table, column, key, page } = locations[after.column];
  const [first, second] = key;
  const key2 = second === undefined ? sql`''` : sql(second);
  const isAfter =
    second === undefined
      ? sql`${sql(first)} > ${after.key}`
      : sql`(${sql(first)}, ${sql(second)}) > (${after.key}, ${after.key2})`;
  const order = second === undefined ? sql(first) : sql`${sql(first)}, ${sql(second)}`;
  const about =
    after.column === "delivery"
      ? sql`coalesce(root_run_id, run_id) as of_run, tenant_id as of_tenant, endpoint_id as of_endpoint`
      : sql`null::text as of_run, null::text as of_tenant, null::text as of_endpoint`;
  const rows = await sql<(Omit<SealedRow, "text"> & { text: string | null })[]>`
    select ${sql(first)} as key, ${key2} as key2, ${sql(column)} as text, ${about}
    from ${sql(table)} where ${isAfter} order by ${order} limit ${page}`;
  const last = rows.length < page ? undefined : rows.at(-1);
  return {
    rows: rows.flatMap(({ text, ...row }) => (text === null ? [] : [{ ...row, text }])),
    next: last ? { column: after.column, key: last.key, key2: last.key2 } : null,
  };
}

/** A row whose value is sealed anew: its text `before`, as it was read, and `after`. */
export const ResealedRow = z.object({
  key: z.string(),
  key2: z.string(),
  before: z.string(),
  after: z.string(),
});
export type ResealedRow = z.infer<typeof ResealedRow>;

/**
 * Replaces texts of a column by the same values under another key. A row that has changed since it was read, or that another statement
 * holds, keeps its own text: the next look finds it.
 * @returns how many were replaced
 */
export async function replaceSealed(
  sql: Sql,
  of: SealedColumn,
  rows: readonly ResealedRow[],
): Promise<number> {
  const { table, column, key } = locations[of];
  const [first, second] = key;
  const isSame = second === undefined ? sql`n.key2 = ''` : sql`t.${sql(second)} = n.key2`;
  const list = (pick: (row: ResealedRow) => string) => pgArray(rows.map(pick));
  const { count } = await sql`
    with locked as (
      select t.ctid, n.after from ${sql(table)} t join unnest(
        ${list((row) => row.key)}::text[], ${list((row) => row.key2)}::text[],
        ${list((row) => row.before)}::text[], ${list((row) => row.after)}::text[]
      ) n (key, key2, before, after) on t.${sql(first)} = n.key and ${isSame} and t.${sql(column)} = n.before
      order by n.key, n.key2 for no key update of t skip locked
    )
    update ${sql(table)} t set ${sql(column)} = l.after from locked l where t.ctid = l.ctid`;
  return count;
}

/** How many values are sealed under a key, and how many of them did not open. */
export const KeyUse = z.object({
  key_id: z.string(),
  values: z.number().int(),
  unreadable: z.number().int(),
});
export type KeyUse = z.infer<typeof KeyUse>;

/** Saves what a whole look at all sealed values found, `tookMs` after it began; it replaces the last one. */
export async function saveKeyUses(sql: Sql, uses: readonly KeyUse[], tookMs: number): Promise<null> {
  await sql`
    with found as (
      select * from unnest(${pgArray(uses.map((use) => use.key_id))}::text[],
        ${pgArray(uses.map((use) => use.values))}::bigint[], ${pgArray(uses.map((use) => use.unreadable))}::bigint[]
      ) f (key_id, value_count, unreadable)
    ), gone as (
      delete from master_key_uses u where not exists (select from found f where f.key_id = u.key_id)
    )
    insert into master_key_uses as u (key_id, value_count, unreadable, began_at, ended_at)
    select key_id, value_count, unreadable, now() - ${tookMs}::float8 * interval '1 ms', now() from found order by key_id
    on conflict (key_id) do update set value_count = excluded.value_count, unreadable = excluded.unreadable,
      began_at = excluded.began_at, ended_at = excluded.ended_at`;
  return null;
}

/** The use of a key, with the times at which the look began and ended, in milliseconds since 1970. */
export type CountedUse = KeyUse & { began_at_ms: number; ended_at_ms: number };

/** What the last whole look at all sealed values found. */
export async function listKeyUses(sql: Sql): Promise<CountedUse[]> {
  return sql<CountedUse[]>`
    select key_id, value_count::float8 as values, unreadable::float8 as unreadable,
      extract(epoch from began_at)::float8 * 1000 as began_at_ms,
      extract(epoch from ended_at)::float8 * 1000 as ended_at_ms
    from master_key_uses order by key_id`;
}
