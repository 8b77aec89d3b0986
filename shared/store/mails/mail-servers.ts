import { z } from "zod";
import type { RunId, TenantId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** The mail server of a tenant. `smtp_url` is sealed for `mailServerPlace`. */
const MailServerRow = z.object({ smtp_url: z.string(), smtp_from: z.string(), updated_at_ms: z.number() });
export type MailServerRow = z.infer<typeof MailServerRow>;

const columns = (sql: Sql) => sql`
  smtp_url, smtp_from, extract(epoch from updated_at)::float8 * 1000 as updated_at_ms`;

/** The mail server of a tenant; null: the tenant has none of its own. */
export async function findMailServer(sql: Sql, tenant: TenantId): Promise<MailServerRow | null> {
  const [row] = await sql`select ${columns(sql)} from mail_servers where tenant_id = ${tenant}`;
  return row ? MailServerRow.parse(row) : null;
}

/**
 * Saves the mail server of a tenant, in place of the one that it had.
 * @param smtpUrl sealed; null: it keeps the stored one
 * @returns null: there is no stored one to keep, and nothing is saved
 */
export async function saveMailServer(
  sql: Sql,
  tenant: TenantId,
  smtpUrl: string | null,
  smtpFrom: string,
): Promise<MailServerRow | null> {
  const [row] =
    smtpUrl === null
      ? await sql`
          update mail_servers set smtp_from = ${smtpFrom}, updated_at = now() where tenant_id = ${tenant}
          returning ${columns(sql)}`
      : await sql`
          insert into mail_servers (tenant_id, smtp_url, smtp_from) values (${tenant}, ${smtpUrl}, ${smtpFrom})
          on conflict (tenant_id) do update set smtp_url = excluded.smtp_url, smtp_from = excluded.smtp_from,
            updated_at = now()
          returning ${columns(sql)}`;
  return row ? MailServerRow.parse(row) : null;
}

/** Deletes the mail server of a tenant. @returns false: the tenant had none */
export async function deleteMailServer(sql: Sql, tenant: TenantId): Promise<boolean> {
  const { count } = await sql`delete from mail_servers where tenant_id = ${tenant}`;
  return count > 0;
}

/** The sender of the mails of a run whose tenant has a mail server of its own; null: it has none. */
export async function readMailSender(sql: Sql, run: RunId): Promise<string | null> {
  const [row] = await sql<{ smtp_from: string }[]>`
    select smtp_from from mail_servers where tenant_id = (select tenant_id from runs where run_id = ${run})`;
  return row?.smtp_from ?? null;
}
