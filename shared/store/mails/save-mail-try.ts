import { z } from "zod";
import { MailOutcome } from "../../contracts/mail.ts";
import type { Sql } from "../sql.ts";

/**
 * The result of one try. `outcome` null: the mail is due again in `retry_ms`. `failed`: the try counts as one. `refused`: the recipients for
 * whom the server did not take the mail, in all tries; `deferred`: those of them for whom it may take it later.
 */
export const MailTry = z.object({
  message_id: z.string(),
  /** The number of the claim: the fence. */
  tries: z.number().int(),
  outcome: MailOutcome.nullable(),
  failed: z.boolean(),
  retry_ms: z.number().min(0).max(86_400_000),
  error: z.string().nullable(),
  refused: z.array(z.string()),
  deferred: z.array(z.string()).default([]),
});
export type MailTry = z.infer<typeof MailTry>;

/** A mail after a try. `superseded`: the fence does not hold, because its lease has lapsed. */
export const MailState = z.enum([...MailOutcome.options, "pending", "superseded"]);
export type MailState = z.infer<typeof MailState>;

/**
 * Saves the result of a try, unless its lease has lapsed meanwhile. A mail that was closed as unknown then gets the outcome that its worker
 * reports late, because no other worker has sent it since; it is not sent again.
 */
export async function saveMailTry(sql: Sql, result: MailTry): Promise<MailState> {
  const { message_id, tries, outcome, failed, retry_ms, error, refused, deferred } = result;
  const [row] = await sql<{ outcome: MailOutcome | null }[]>`
    update mails set sending = false, end_reported = null, outcome = ${outcome}, failures = failures + ${failed ? 1 : 0},
      last_error = ${error?.replaceAll("\0", "\uFFFD") ?? null},
      refused = ${listText(refused)}, deferred = ${listText(deferred)},
      done_at = case when ${outcome}::text is not null then now() end,
      next_at = case when ${outcome}::text is null then now() + ${retry_ms}::float8 * interval '1 millisecond' end
    where message_id = ${message_id} and tries = ${tries}
      and (sending and done_at is null or outcome = 'unknown' and ${outcome}::text is not null)
    returning outcome`;
  return row ? (row.outcome ?? "pending") : "superseded";
}

function listText(recipients: readonly string[]): string | null {
  return recipients.length === 0 ? null : JSON.stringify(recipients);
}
