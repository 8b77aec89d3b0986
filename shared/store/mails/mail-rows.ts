import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { MAX_PENDING_MAILS, MailOutcome } from "../../contracts/mail.ts";
import type { Sql } from "../sql.ts";

const ms = z.number().nullable();

const Recipients = jsonText(z.array(z.string()))
  .nullable()
  .transform((list) => list ?? []);

/** A mail as operators see it: its texts are left out. `refused` and `deferred` as in a MailTry. */
const MailRow = z.object({
  message_id: z.string(),
  tenant_id: z.string(),
  run_id: RunId,
  priority: z.number(),
  recipients: jsonText(z.array(z.string())),
  subject: z.string(),
  outcome: MailOutcome.nullable(),
  failures: z.number(),
  last_error: z.string().nullable(),
  refused: Recipients,
  deferred: Recipients,
  created_at_ms: z.number(),
  next_at_ms: ms,
  done_at_ms: ms,
});
export type MailRow = z.infer<typeof MailRow>;

const columns = (sql: Sql) => sql`
  message_id, tenant_id, run_id, priority, outcome, failures, last_error, refused, deferred,
  content::json ->> 'to' as recipients, content::json ->> 'subject' as subject,
  extract(epoch from created_at)::float8 * 1000 as created_at_ms,
  extract(epoch from next_at)::float8 * 1000 as next_at_ms, extract(epoch from done_at)::float8 * 1000 as done_at_ms`;

/** Selects mails. Null: any. `pending`: without an outcome yet. */
export type MailFilter = {
  /** Null: of any tenant, for a platform key. */
  tenant: TenantId | null;
  run: RunId | null;
  outcome: MailOutcome | "pending" | null;
};

/** A page of mails, the newest first. @param before the `message_id` of the last mail of the page before; null: from the newest on */
export async function listMails(
  sql: Sql,
  { tenant, run, outcome }: MailFilter,
  before: string | null,
  limit: number,
): Promise<MailRow[]> {
  const rows = await sql`
    select ${columns(sql)} from mails where true
      ${tenant === null ? sql`` : sql`and tenant_id = ${tenant}`}
      ${run === null ? sql`` : sql`and run_id = ${run}`}
      ${outcome === null ? sql`` : sql`and coalesce(outcome, 'pending') = ${outcome}`}
      ${
        before === null
          ? sql``
          : sql`and (created_at, message_id) < (select b.created_at, b.message_id from mails b where b.message_id = ${before})`
      }
    order by created_at desc, message_id desc limit ${limit}`;
  return rows.map((row) => MailRow.parse(row));
}

/** A mail. @param tenant null: of any tenant, for a platform key. @returns null: there is none */
export async function readMail(sql: Sql, tenant: TenantId | null, id: string): Promise<MailRow | null> {
  const [row] = await sql`
    select ${columns(sql)} from mails where message_id = ${id} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? MailRow.parse(row) : null;
}

/**
 * Makes a mail that was rejected, or whose outcome is unknown, due again, with all its tries. It has the Message-ID of the first time.
 * @param tenant null: of any tenant, for a platform key
 * @returns null: there is no such mail, it was sent or waits, or too many mails of its tenant wait
 */
export async function retryMail(sql: Sql, tenant: TenantId | null, id: string): Promise<MailRow | null> {
  const [row] = await sql`
    update mails m set outcome = null, done_at = null, next_at = now(), failures = 0, end_reported = null
    where message_id = ${id} and (${tenant}::text is null or tenant_id = ${tenant}) and outcome in ('rejected', 'unknown')
      and (select count(*) from (
        select 1 from mails w where w.tenant_id = m.tenant_id and w.done_at is null limit ${MAX_PENDING_MAILS}) w
      ) < ${MAX_PENDING_MAILS}
    returning ${columns(sql)}`;
  return row ? MailRow.parse(row) : null;
}
