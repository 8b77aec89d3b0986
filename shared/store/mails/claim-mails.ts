import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { RunId } from "../../contracts/ids.ts";
import { MailContent } from "../../contracts/mail.ts";
import type { Sql } from "../sql.ts";

/** The most tenants that one claim examines. */
const TENANTS_PER_CLAIM = 200;

const CUT_OFF =
  "the worker that was sending it died, so whether it was sent is not known: it is not sent again";
const UNSENT = "the worker that was sending it died before the end of the message";

/** The most mails of one tenant that are open at its own mail server: a silent server must not take the slots of all tenants. */
const OPEN_AT_OWN_SERVER = 2;

/**
 * `slots`: the most mails. `after`: the tenant after which to go on. `leaseMs`: the time in which the outcome must be saved.
 * `hasServer`: the worker has the operator's mail server; else it claims mails of tenants with a server of their own. `reportsEnd`: the worker
 * calls `endMail` before it sends the end of a message. `attempts`: the most tries of a mail; null: no limit.
 */
export const MailClaim = z.object({
  hasServer: z.boolean().default(true),
  slots: z.number().int().min(1).max(1_000),
  after: z.string(),
  leaseMs: z.number().positive().max(3_600_000),
  // A worker of an earlier version sends neither.
  reportsEnd: z.boolean().default(false),
  attempts: z.number().int().nullable().default(null),
});
export type MailClaim = z.input<typeof MailClaim>;

/**
 * A mail to be sent now. `tries`: the number of this claim, the fence. `failures`: its failed tries. `refused`: after a try
 * in which the server took the mail for some recipients, the other recipients; empty: there was no such try. `deferred`: those of them
 * for whom it is sent now. Null: an edge, or a worker, of an earlier version has not saved them.
 * `server`: the mail server of its tenant, with the sealed URL; null: the operator's. `reports_end`: `endMail` is called before its end is
 * sent; false: the claim went through an edge that does not have that verb.
 */
export const DueMail = z.object({
  message_id: z.string(),
  tenant_id: z.string(),
  run_id: RunId,
  tries: z.number().int(),
  failures: z.number().int(),
  content: MailContent,
  refused: z.array(z.string()).nullable().default(null),
  reports_end: z.boolean().default(false),
  deferred: z.array(z.string()).nullable().default(null),
  server: z.object({ smtp_url: z.string(), smtp_from: z.string() }).nullable().default(null),
});
export type DueMail = z.infer<typeof DueMail>;

/** `after`: the last tenant that was examined, when there are more of them; empty: there are none. */
export const ClaimedMails = z.object({ mails: z.array(DueMail), after: z.string() });
export type ClaimedMails = z.infer<typeof ClaimedMails>;

/**
 * Claims due mails: the first ones of each tenant, then the second ones, and so on, where a mail that is being sent counts too. A
 * tenant's mails come by their priority. A mail whose lease has lapsed is due again, as after a failed try, if the end of its message was
 * certainly not sent; else it is closed as unknown. docs/protocol.md 5.28, 5.32.
 */
export async function claimMails(
  sql: Sql,
  { slots, after, leaseMs, hasServer = true, reportsEnd = false, attempts = null }: MailClaim,
): Promise<ClaimedMails> {
  const [row] = await sql`
    with recursive lapsed as (
      update mails m set sending = false, end_reported = null, outcome = l.outcome, failures = m.failures + l.is_unsent::int,
        last_error = case when l.is_unsent then ${UNSENT} else ${CUT_OFF} end,
        done_at = case when l.outcome is not null then now() end, next_at = case when l.outcome is null then now() end
      from (
        select message_id, end_reported, end_reported is not distinct from false as is_unsent, case
            when end_reported is distinct from false then 'unknown'
            when failures + 1 >= ${attempts}::int then case when refused is null then 'rejected' else 'sent' end
          end as outcome
        from mails where done_at is null and sending and next_at <= now()
      ) l
      -- Its worker may report the end at this moment: then the next claim ends the lease.
      where m.message_id = l.message_id and m.sending and m.next_at <= now() and m.end_reported is not distinct from l.end_reported
    ), examined as (
      (select tenant_id, 1 as n from mails where done_at is null and tenant_id > ${after} order by tenant_id limit 1)
      union all
      select (select m.tenant_id from mails m where m.done_at is null and m.tenant_id > e.tenant_id
        order by m.tenant_id limit 1), e.n + 1
      from examined e where e.tenant_id is not null and e.n < ${TENANTS_PER_CLAIM}
    ), due as (
      select m.message_id, m.place + (
        select count(*) from mails b where b.tenant_id = e.tenant_id and b.done_at is null and b.sending) as place,
        s.tenant_id is not null as has_own
      from examined e left join mail_servers s on s.tenant_id = e.tenant_id cross join lateral (
        select message_id, row_number() over (order by priority desc, next_at) as place
        from mails w where w.tenant_id = e.tenant_id and w.done_at is null and not w.sending and w.next_at <= now()
        order by priority desc, next_at limit ${slots}
      ) m
      where ${hasServer} or s.tenant_id is not null
    ), chosen as (
      select message_id from due where not has_own or place <= ${OPEN_AT_OWN_SERVER} order by place, random() limit ${slots}
    ), locked as (
      select message_id from mails where message_id in (select message_id from chosen)
        and done_at is null and not sending and next_at <= now() for update skip locked
    ), claimed as (
      update mails m set tries = m.tries + 1, sending = true, end_reported = case when ${reportsEnd} then false end,
        next_at = now() + ${leaseMs}::float8 * interval '1 millisecond'
      from locked l where m.message_id = l.message_id
      returning m.message_id, m.tenant_id, m.run_id, m.tries, m.failures, m.content, m.refused, m.deferred, m.end_reported
    )
    select coalesce((
        select json_agg(json_build_object('message_id', c.message_id, 'tenant_id', c.tenant_id, 'run_id', c.run_id,
          'tries', c.tries, 'failures', c.failures, 'content', c.content, 'refused', coalesce(c.refused, '[]')::json, 'deferred', c.deferred::json,
          'reports_end', c.end_reported is not null,
          'server', case when s.tenant_id is not null
          then json_build_object('smtp_url', s.smtp_url, 'smtp_from', s.smtp_from) end))
        from claimed c left join mail_servers s on s.tenant_id = c.tenant_id), '[]')::text as mails,
      coalesce((select max(tenant_id) from examined where n = ${TENANTS_PER_CLAIM}), '') as after`;
  const Rows = z.array(DueMail.extend({ content: jsonText(MailContent) }));
  return { mails: Rows.parse(JSON.parse(String(row?.["mails"]))), after: String(row?.["after"]) };
}
