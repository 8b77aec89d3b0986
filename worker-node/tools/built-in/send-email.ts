import { hash } from "node:crypto";
import { domainToASCII } from "node:url";
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { MAX_PENDING_MAILS, MAX_SEND_AT_DAYS } from "../../../shared/contracts/mail.ts";
import type { NewMail } from "../../../shared/contracts/mail.ts";
import { senderDomain } from "../../../shared/contracts/mail-server.ts";
import { messageOf } from "../../../shared/log.ts";
import { RetryableError, ToolRejection } from "../../engine/step-errors.ts";

/**
 * Where mails are queued. `senderOf`: the sender of a run's mails; null: neither this worker nor the run's tenant has a mail server.
 * `queue` resolves to false when too many wait.
 */
export type Outbox = {
  senderOf(run: RunId): Promise<string | null>;
  queue(mail: NewMail): Promise<boolean>;
};

const MAX_RECIPIENTS = 50;
const MAX_BODY_CHARS = 1024 * 1024;
const DAY_MS = 86_400_000;
const MAX_ADDRESS_CHARS = 320;
/**
 * An address; a domain with other letters becomes the ASCII that mail servers take (RFC 5891). Letters before the @ must be ASCII.
 *
 * The limit is checked before the domain is looked for, which takes time by the square of the length.
 */
const Address = z
  .string()
  .max(MAX_ADDRESS_CHARS)
  .transform((text) => text.replace(/(?<=@)[^@\s]*[^\0-\x7f][^@\s]*$/, (domain) => domainToASCII(domain)))
  .pipe(z.email("must be an address such as ann@example.com").max(MAX_ADDRESS_CHARS));
/** One address, or a list of them. An error names the address, which the alternatives of a union would not. */
const Addresses = z.preprocess((given) => (typeof given === "string" ? [given] : given), z.array(Address));
const body = z.string().max(MAX_BODY_CHARS).nullish();
const Mail = z
  .object({
    to: Addresses,
    cc: Addresses.nullish(),
    subject: z
      .string()
      .min(1)
      .max(998)
      .refine((text) => !/\p{Cc}/u.test(text), "must have no line breaks and no control characters"),
    text: body,
    html: body,
    reply_to: Address.nullish(),
    priority: z.number().int().min(0).max(10).nullish(),
    send_at: z.iso.datetime({ offset: true }).nullish(),
  })
  .refine(({ text, html }) => (text ?? html ?? "") !== "", { error: "needs text or html" })
  .refine(({ to, cc }) => to.length > 0 && to.length + (cc ?? []).length <= MAX_RECIPIENTS, {
    error: `takes 1 to ${MAX_RECIPIENTS} recipients`,
  })
  .refine(({ send_at }) => Date.parse(send_at ?? "") - Date.now() <= MAX_SEND_AT_DAYS * DAY_MS || !send_at, {
    path: ["send_at"],
    error: `must be at most ${MAX_SEND_AT_DAYS} days from now`,
  });

/**
 * The built-in tool `send_email`: queues one mail. Its Message-ID follows from the effect key, so a call that is repeated after a crash
 * queues nothing again.
 * @throws ToolRejection for wrong arguments and a full queue; RetryableError `smtp_missing`, `mail_not_queued`
 */
export async function sendEmail(outbox: Outbox, args: JsonObject, effectKey: string): Promise<Json> {
  const parsed = Mail.safeParse(args);
  if (!parsed.success) throw new ToolRejection(z.prettifyError(parsed.error));
  // An effect key begins with the run.
  const run_id = RunId.parse(effectKey.split(":")[0]);
  const from = await outbox.senderOf(run_id).catch(notQueued);
  if (from === null) {
    throw new RetryableError(
      "smtp_missing",
      "there is no mail server: the tenant has none of its own, and this worker has no SMTP_URL and SMTP_FROM",
    );
  }
  const { to, cc, subject, text, html, reply_to, priority, send_at } = parsed.data;
  const mail: NewMail = {
    message_id: messageIdOf(effectKey, from),
    run_id,
    priority: priority ?? 0,
    send_at: send_at ? new Date(send_at).toISOString() : null,
    content: {
      to,
      cc: cc ?? [],
      subject,
      text: text || null,
      html: html || null,
      reply_to: reply_to ?? null,
    },
  };
  const isQueued = await outbox.queue(mail).catch(notQueued);
  if (!isQueued) {
    const message = `${MAX_PENDING_MAILS} mails of this tenant wait to be sent already`;
    throw new ToolRejection(message, { code: "mail_queue_full" });
  }
  return { message_id: mail.message_id, status: "queued", send_at: mail.send_at };
}

function notQueued(cause: unknown): never {
  throw new RetryableError("mail_not_queued", `the mail could not be queued: ${messageOf(cause)}`, { cause });
}

function messageIdOf(effectKey: string, from: string): string {
  const domain = senderDomain(from) ?? "localhost";
  return `<${hash("sha256", effectKey).slice(0, 40)}@${domain}>`;
}
