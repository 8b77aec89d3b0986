import { z } from "zod";
import type { TenantId } from "../contracts/ids.ts";
import type { Sql } from "./sql.ts";

/** A request of an administrator that changes something. `tenant` null: it concerns the platform. */
export type NewAuditRow = {
  key_id: string;
  action: string;
  target: string | null;
  tenant: TenantId | null;
  request_id: string;
};

/** Inserts the row of a request before its change is made; `completeAudit` adds the outcome. @returns the row's number */
export async function beginAudit(sql: Sql, row: NewAuditRow): Promise<string> {
  const [begun] = await sql<{ id: string }[]>`
    insert into audit (key_id, action, target, tenant_id, request_id)
    values (${row.key_id}, ${row.action}, ${row.target}, ${row.tenant}, ${row.request_id})
    returning audit_id::text as id`;
  if (!begun) throw new Error("an insert returned no row");
  return begun.id;
}

/** Adds the outcome of the request: its HTTP status. Absent fields keep their values. */
export async function completeAudit(
  sql: Sql,
  id: string,
  {
    target = null,
    tenant = null,
    status,
  }: { target?: string | null; tenant?: TenantId | null; status: number },
): Promise<void> {
  await sql`
    update audit set target = coalesce(${target}, target), tenant_id = coalesce(${tenant}, tenant_id), status = ${status}
    where audit_id = ${id}::text::bigint`;
}

const AuditRow = z.object({
  id: z.string(),
  at_ms: z.number(),
  key_id: z.string(),
  action: z.string(),
  target: z.string().nullable(),
  tenant_id: z.string().nullable(),
  request_id: z.string(),
  status: z.number().nullable(),
});
export type AuditRow = z.infer<typeof AuditRow>;

/**
 * A page of audit rows, the newest first.
 * @param tenant null: of all tenants and of the platform
 * @param before the last row of the page before; null: the first page
 */
export async function listAudit(
  sql: Sql,
  tenant: TenantId | null,
  before: string | null,
  limit: number,
): Promise<AuditRow[]> {
  const position = sql`${before ?? "9223372036854775807"}::text::bigint`;
  // Rows are compared, so that the plan does not depend on how many rows an average tenant has: see list-runs.ts.
  const rows = await sql`
    select audit_id::text as id, extract(epoch from at)::float8 * 1000 as at_ms, key_id, action, target, tenant_id,
      request_id, status
    from audit
    where ${
      tenant === null
        ? sql`audit_id < ${position} order by audit_id desc`
        : sql`(tenant_id, audit_id) >= (${tenant}::text, 0) and (tenant_id, audit_id) < (${tenant}::text, ${position})
            order by tenant_id desc, audit_id desc`
    } limit ${limit}`;
  return rows.map((row) => AuditRow.parse(row));
}
