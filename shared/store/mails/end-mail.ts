import type { Sql } from "../sql.ts";
import type { MailTry } from "./save-mail-try.ts";

/**
 * Records that the end of a message is sent now. Before that the mail server has not taken the mail, so a mail whose worker dies is due
 * again; after it the server may have taken it.
 * @returns false: another worker has the mail, or it has an outcome, and the end must not be sent
 */
export async function endMail(
  sql: Sql,
  { message_id, tries }: Pick<MailTry, "message_id" | "tries">,
): Promise<boolean> {
  const { count } = await sql`
    update mails set end_reported = true
    where message_id = ${message_id} and tries = ${tries} and sending and done_at is null`;
  return count > 0;
}
