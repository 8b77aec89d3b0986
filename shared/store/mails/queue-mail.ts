import { MAX_PENDING_MAILS } from "../../contracts/mail.ts";
import type { NewMail } from "../../contracts/mail.ts";
import type { Sql } from "../sql.ts";

/**
 * Queues a mail of a run, once however often it is repeated.
 * @returns false: too many mails of its tenant wait already, and it is not queued
 */
export async function queueMail(sql: Sql, mail: NewMail): Promise<boolean> {
  const { message_id, run_id, priority, send_at } = mail;
  // Postgres stores no NUL in a text.
  const content = JSON.stringify(mail.content).replaceAll("\\u0000", "\\ufffd");
  const [row] = await sql<{ queued: boolean }[]>`
    with run as (
      select tenant_id from runs where run_id = ${run_id}
    ), inserted as (
      insert into mails (message_id, tenant_id, run_id, priority, content, next_at)
      select ${message_id}, tenant_id, ${run_id}, ${priority}, ${content},
        greatest(now(), coalesce(${send_at}::timestamptz, now()))
      from run where (
        select count(*) from (
          select 1 from mails m where m.tenant_id = run.tenant_id and m.done_at is null limit ${MAX_PENDING_MAILS}) w
      ) < ${MAX_PENDING_MAILS}
      on conflict do nothing returning 1
    )
    select exists (select from inserted) or exists (
      select from mails where message_id = ${message_id}) as queued`;
  return row?.queued ?? false;
}
