import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { MailOutcome } from "../../shared/contracts/mail.ts";
import type { MailRow } from "../../shared/store/mails/mail-rows.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** The outcome of a mail, as operators see it. */
export const ShownOutcome = z.enum([...MailOutcome.options, "pending"]);

/** A mail, as operators see it: without its texts. */
export const Mail = z
  .object({
    message_id: z.string(),
    tenant_id: z.string(),
    run_id: RunId,
    priority: z.number().int(),
    recipients: z.array(z.string()),
    subject: z.string(),
    /** `unknown`: the mail server may have taken the mail, so no worker sends it again by itself. */
    outcome: ShownOutcome,
    /** How many tries have failed. */
    failures: z.number().int(),
    last_error: z.string().nullable(),
    /** When the mail server took the mail for some recipients: those for whom it refused it for good. */
    refused: z.array(z.string()),
    /** Then also those for whom it has not taken it yet: a pending mail is tried again for these, and a mail that is `sent` did not reach them in all its tries. */
    deferred: z.array(z.string()),
    created_at: z.iso.datetime(),
    /** When it is due; while a worker sends it, the time by which that worker must be done. */
    next_at: z.iso.datetime().nullable(),
    done_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "Mail" });

/** A stored mail as the API shows it. */
export function mailOf({ created_at_ms, next_at_ms, done_at_ms, ...row }: MailRow): z.infer<typeof Mail> {
  return {
    ...row,
    refused: row.refused.filter((recipient) => !row.deferred.includes(recipient)),
    outcome: row.outcome ?? "pending",
    created_at: isoTime(created_at_ms),
    next_at: isoTime(next_at_ms),
    done_at: isoTime(done_at_ms),
  };
}
