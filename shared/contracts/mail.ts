import { z } from "zod";
import { RunId } from "./ids.ts";

/** The recipients, the subject and the texts of a mail. */
export const MailContent = z.object({
  to: z.array(z.string()),
  cc: z.array(z.string()),
  subject: z.string(),
  text: z.string().nullable(),
  html: z.string().nullable(),
  reply_to: z.string().nullable(),
});
export type MailContent = z.infer<typeof MailContent>;

/** A mail that a run queues. `message_id`: of this call alone. `send_at`: not before this time; null: at once. */
export const NewMail = z.object({
  message_id: z.string().max(500),
  run_id: RunId,
  priority: z.number().int().min(0).max(10),
  send_at: z.iso.datetime().nullable(),
  content: MailContent,
});
export type NewMail = z.infer<typeof NewMail>;

/** `unknown`: the server may have taken the mail, and it is not sent again. */
export const MailOutcome = z.enum(["sent", "rejected", "unknown"]);
export type MailOutcome = z.infer<typeof MailOutcome>;

/** The most mails of one tenant that wait. */
export const MAX_PENDING_MAILS = 10_000;
/** A mail can be queued for a time so far ahead. */
export const MAX_SEND_AT_DAYS = 365;
