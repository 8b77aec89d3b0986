import { createHash } from "node:crypto";
import { z } from "zod";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { messageOf } from "../../../shared/log.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../engine/step-errors.ts";

/** The mail server of this deployment, and the sender of all mails. */
export type MailSettings = { url: string; from: string };

const MAX_RECIPIENTS = 50;
const MAX_BODY_CHARS = 1024 * 1024;
const Address = z.email("must be an address such as ann@example.com").max(320);
const Addresses = z.union([Address.transform((one) => [one]), z.array(Address)]);
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
  })
  .refine(({ text, html }) => (text ?? html ?? "") !== "", { error: "needs text or html" })
  .refine(({ to, cc }) => to.length > 0 && to.length + (cc ?? []).length <= MAX_RECIPIENTS, {
    error: `takes 1 to ${MAX_RECIPIENTS} recipients`,
  });

/**
 * The built-in tool `send_email`. The same call has the same Message-ID after a crash, so that a mail that is sent twice is known
 * as one.
 *
 * After the whole message was sent, a connection that is lost leaves its outcome unknown: the server may have taken it. It is not sent
 * again.
 * @param settings null: this worker has no mail server
 * @throws ToolRejection for wrong arguments and what the server refuses; TerminalError `email_unknown`, `smtp_unauthorized`;
 *   RetryableError `email_deferred`, `unreachable`, `tool_timeout`, `smtp_missing`. No error quotes the settings.
 */
export async function sendEmail(
  settings: MailSettings | null,
  args: JsonObject,
  call: { effectKey: string; timeoutMs: number; signal: AbortSignal },
): Promise<Json> {
  const parsed = Mail.safeParse(args);
  if (!parsed.success) throw new ToolRejection(z.prettifyError(parsed.error));
  if (settings === null) {
    throw new RetryableError(
      "smtp_missing",
      "this worker has no mail server: set its SMTP_URL and SMTP_FROM",
    );
  }
  const { to, cc, subject, text, html, reply_to } = parsed.data;
  const timeout = AbortSignal.timeout(call.timeoutMs);
  const progress = { isSent: false };
  const transport = await openTransport(settings, call.timeoutMs, progress);
  try {
    const info = await transport.sendMail({
      from: settings.from,
      to,
      cc: cc ?? [],
      subject,
      ...(reply_to && { replyTo: reply_to }),
      ...(text && { text }),
      ...(html && { html }),
      messageId: messageIdOf(call.effectKey, settings.from),
      signal: AbortSignal.any([call.signal, timeout]),
    });
    return {
      message_id: info.messageId,
      accepted: info.accepted.map(addressOf),
      rejected: info.rejected.map(addressOf),
    };
  } catch (error) {
    // A step that was stopped reports that, and tries nothing again by itself.
    call.signal.throwIfAborted();
    throw errorOf(error, progress.isSent, timeout.aborted);
  } finally {
    transport.close();
  }
}

/** The package is loaded with the first mail. `progress`: whether the whole message has been sent. */
async function openTransport({ url }: MailSettings, timeoutMs: number, progress: { isSent: boolean }) {
  const { createTransport } = await import("nodemailer");
  const ignore = (): void => {};
  // What the package says of its own progress: it logs a message when its last byte was sent, before the server's reply.
  const info = (entry: unknown): void => {
    if (SentMessage.safeParse(entry).success) progress.isSent = true;
  };
  const logger = {
    level: ignore,
    trace: ignore,
    debug: ignore,
    info,
    warn: ignore,
    error: ignore,
    fatal: ignore,
  };
  return createTransport({
    url,
    logger,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
}

const SentMessage = z.object({ tnx: z.literal("message"), inByteCount: z.number() });

function messageIdOf(effectKey: string, from: string): string {
  const domain = /@([^\s<>@]+)>?\s*$/.exec(from)?.[1] ?? "localhost";
  return `<${createHash("sha256").update(effectKey).digest("hex").slice(0, 40)}@${domain}>`;
}

function addressOf(address: string | { address: string }): string {
  return typeof address === "string" ? address : address.address;
}

const SmtpError = z.object({ code: z.string().optional(), responseCode: z.number().optional() });

function errorOf(error: unknown, isSent: boolean, isLate: boolean): Error {
  const { code, responseCode } = SmtpError.catch({}).parse(error);
  const cause = { cause: error };
  if (responseCode === undefined && isSent) {
    const message =
      "whether the mail was sent is not known: the connection was lost before the server's answer. It is not sent again";
    return new TerminalError("email_unknown", message, cause);
  }
  if (isLate || code === "ETIMEDOUT")
    return new RetryableError("tool_timeout", "the mail server did not answer in time", cause);
  if (code === "EAUTH" || code === "ETLS") {
    return new TerminalError(
      "smtp_unauthorized",
      "the mail server does not accept the settings of SMTP_URL",
      cause,
    );
  }
  if (responseCode !== undefined && responseCode >= 500) {
    return new ToolRejection(`the mail server refused the mail: ${messageOf(error).slice(0, 300)}`, cause);
  }
  if (responseCode !== undefined) {
    const message = `the mail server does not take the mail now (${responseCode})`;
    return new RetryableError("email_deferred", message, { ...cause, answered: true });
  }
  return new RetryableError(
    "unreachable",
    "the mail server cannot be reached, or closed the connection",
    cause,
  );
}
