import { StoredSetting } from "../contracts/setting.ts";
import { TenantId } from "../contracts/ids.ts";
import { z } from "zod";
import { pgArray } from "./sql.ts";
import type { Sql } from "./sql.ts";

/** All settings. */
export async function readSettings(sql: Sql): Promise<StoredSetting[]> {
  const rows = await sql`select name, value from settings order by name`;
  return rows.map((row) => StoredSetting.parse(row));
}

/** The id of the change of settings that was saved last; empty: none was. It is read before the settings, for `saveSettings`. */
export async function readSettingsVersion(sql: Sql): Promise<string> {
  const [row] = await sql<{ holder: string }[]>`select holder from locks where name = 'settings'`;
  return row?.holder ?? "";
}

/**
 * Saves settings: all of them or none. `value` null: it is removed, and the variable holds again.
 * @param seen the version beside which the change was checked; null: any
 * @returns false when another change was saved since `seen`, and this one was not
 */
export async function saveSettings(
  sql: Sql,
  changes: readonly { name: string; value: string | null }[],
  keyId: string,
  seen: string | null = null,
): Promise<boolean> {
  const rows = await sql`
    with version as (
      insert into locks as l (name, holder, until) values ('settings', ${crypto.randomUUID()}, now())
      on conflict (name) do update set holder = excluded.holder, until = excluded.until
        where l.holder = coalesce(${seen}, l.holder)
      returning 1
    ), changes as (
      select c.* from version, unnest(${pgArray(changes.map(({ name }) => name))}::text[],
        ${pgArray(changes.map(({ value }) => value))}::text[]) as c(name, value)
    ), removed as (
      delete from settings s using changes c where s.name = c.name and c.value is null
    ), saved as (
      insert into settings (name, value, updated_by)
      select name, value, ${keyId} from changes where value is not null
      on conflict (name) do update set value = excluded.value, updated_by = excluded.updated_by, updated_at = now()
    )
    select from version`;
  return rows.length > 0;
}

/** The limits of a tenant that the edge enforces itself. */
const EdgeLimits = z.object({
  tenant_id: TenantId,
  requests_per_second: z.number(),
  max_open_streams: z.number(),
});
export type EdgeLimits = z.infer<typeof EdgeLimits>;

const LiveRow = z.object({ settings: z.array(StoredSetting), tenants: z.array(EdgeLimits) });

/** All settings, and the limits of these tenants as far as they exist, in one read. */
export async function readLiveValues(
  sql: Sql,
  tenants: readonly TenantId[],
): Promise<z.infer<typeof LiveRow>> {
  const [row] = await sql`
    select (select coalesce(json_agg(json_build_object('name', name, 'value', value)), '[]') from settings)::text as settings,
      (select coalesce(json_agg(json_build_object('tenant_id', tenant_id, 'requests_per_second', requests_per_second,
        'max_open_streams', max_open_streams)), '[]')
      from tenants where tenant_id = any(${pgArray(tenants)}::text[]))::text as tenants`;
  const { settings, tenants: limits } = z.object({ settings: z.string(), tenants: z.string() }).parse(row);
  return LiveRow.parse({ settings: JSON.parse(settings), tenants: JSON.parse(limits) });
}
