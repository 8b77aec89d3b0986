import { Readable } from "node:stream";
import { z } from "zod";
import { parseMailServerUrl } from "../../shared/contracts/mail-server.ts";
import { backoffOf } from "../../shared/contracts/lane-settings.ts";
import type { LaneSettings } from "../../shared/contracts/lane-settings.ts";
import { messageOf } from "../../shared/log.ts";
import type { DueMail } from "../../shared/store/mails/claim-mails.ts";
import type { MailTry } from "../../shared/store/mails/save-mail-try.ts";
import { redact } from "../../shared/security/redact.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { SmtpError, connectionFault } from "./connection-fault.ts";
import { openTransport } from "./mail-transport.ts";
import type { MailServer } from "./mail-transport.ts";

/** What the lane of mails says of its tries. */
type TryRules = Pick<LaneSettings, "attempts" | "first_backoff_seconds" | "timeout_seconds">;

/** The outcome of a try of a mail. */
export type MailVerdict = Pick<MailTry, "outcome" | "failed" | "retry_ms" | "error" | "refused" | "deferred">;

type SendOptions = { signal: AbortSignal; rules: TryRules; reportEnd: () => Promise<boolean> | boolean };

/** After this time a mail is due again whose end could not be reported: Postgres was away. */
const UNREPORTED_RETRY_MS = 5_000;

/** The longest time of one try, whatever the lane says: a claim is leased for longer. */
const MAX_TIMEOUT_MS = 300_000;

/** How long one try may take, in milliseconds. */
export function mailTimeoutMsOf({ timeout_seconds: seconds }: Pick<TryRules, "timeout_seconds">): number {
  return Math.min(MAX_TIMEOUT_MS, (seconds ?? Infinity) * 1_000);
}

/**
 * Sends a mail once. Every failure is a verdict. After the whole message was sent, a connection that is lost leaves the outcome
 * unknown: the server may have taken it, and it is not sent again. No error quotes the settings.
 *
 * Where the server takes the mail for some recipients, and not yet for others, the next try is for those others alone. A mail that was
 * taken for one recipient at least is `sent`, with the recipients in `refused` for whom it was not; `deferred` are those of them for
 * whom the server did not take it in all tries, and did not refuse it for good either.
 *
 * `reportEnd` is awaited before the end of the message is sent. Without it, when it is false or fails, the server does not take the mail: the
 * connection ends before.
 * @param signal of a worker that stops: what was not sent yet is due again at once
 */
export async function sendMail(
  server: MailServer,
  { message_id, content, failures, refused: remembered, deferred: deferredBefore }: DueMail,
  { signal, rules, reportEnd }: SendOptions,
): Promise<MailVerdict> {
  const timeoutMs = mailTimeoutMsOf(rules);
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([signal, timeout]);
  let isSent = false;
  const onSent = (): void => void (isSent = true);
  const transport = await openTransport(server, { timeoutMs, signal: either, onSent });
  transport.use("stream", ({ message }, done) => {
    message.processFunc((input) => Readable.from(endingAfter(reportEnd, input)));
    done();
  });
  const remaining = deferredBefore ?? remembered ?? [];
  const refusedBefore = (remembered ?? []).filter((recipient) => !remaining.includes(recipient));
  const attempts = rules.attempts ?? Infinity;
  const isLast = failures + 1 >= attempts;
  const lastOf = (error: string | null): string =>
    `${error}; it was try ${failures + 1} of ${attempts}, as the lane mail allows`;
  const retry_ms = backoffOf(rules.first_backoff_seconds, failures + 1);
  try {
    const { to, cc, subject, text, html, reply_to } = content;
    const info = await transport.sendMail({
      from: server.from,
      to,
      cc,
      subject,
      messageId: message_id,
      ...(reply_to !== null && { replyTo: reply_to }),
      ...(text !== null && { text }),
      ...(html !== null && { html }),
      ...(remaining.length > 0 && { envelope: { from: server.from, to: remaining } }),
      signal: either,
    });
    const refused = [...refusedBefore, ...info.rejected];
    const deferrals = repliesOf(info).filter(({ responseCode }) => responseCode < 500);
    const deferred = deferrals.map(({ recipient }) => recipient);
    const [first] = deferrals;
    if (first === undefined || remembered === null)
      return { outcome: "sent", failed: false, retry_ms: 0, error: null, refused, deferred };
    const error = `email_deferred: the mail server does not take the mail for ${deferred.length} of its recipients now (${first.responseCode})`;
    if (isLast)
      return { outcome: "sent", failed: true, retry_ms: 0, error: lastOf(error), refused, deferred };
    return { outcome: null, failed: true, retry_ms, error, refused, deferred };
  } catch (error) {
    const gone = repliesOf(error).filter(({ responseCode }) => responseCode >= 500);
    const deferred = remaining.filter((each) => gone.every(({ recipient }) => recipient !== each));
    const unsent = { failed: true, retry_ms: 0, refused: remembered ?? [], deferred };
    const rejected = remaining.length > 0 ? ("sent" as const) : ("rejected" as const);
    const found = faultOf(error, { isSent, isLate: timeout.aborted, server });
    if (found.outcome === "rejected") return { ...unsent, ...found, outcome: rejected, deferred: [] };
    if (found.outcome !== null) return { ...unsent, ...found };
    if (signal.aborted) return { ...unsent, outcome: null, failed: false, error: "the worker was stopped" };
    if (SmtpError.parse(error).code === MESSAGE_FAILED)
      return { ...unsent, outcome: null, failed: false, retry_ms: UNREPORTED_RETRY_MS, error: UNREPORTED };
    if (isLast) return { ...unsent, outcome: rejected, error: lastOf(found.error) };
    return { ...unsent, ...found, retry_ms };
  } finally {
    transport.close();
  }
}

/** The code of the package's error when the stream of the message fails. */
const MESSAGE_FAILED = "ESTREAM";
const UNREPORTED = "the end of the message was not sent, because Postgres could not record it";

/** The parts of a message; the last one is followed by its end, which waits for `report`. The package reads no part before the server wants the message. */
async function* endingAfter(
  report: SendOptions["reportEnd"],
  message: AsyncIterable<unknown>,
): AsyncGenerator {
  yield* message;
  if (!(await report())) throw new Error("another worker has the mail");
}

/** The replies with which a server did not take a mail for some of its recipients, or for all. */
const Replies = z
  .object({ rejectedErrors: z.array(z.object({ recipient: z.string(), responseCode: z.number() })) })
  .catch({ rejectedErrors: [] });

function repliesOf(result: unknown) {
  return Replies.parse(result).rejectedErrors;
}

/** `outcome` null: another try may succeed. */
function faultOf(
  error: unknown,
  { isSent, isLate, server }: { isSent: boolean; isLate: boolean; server: MailServer },
): Pick<MailVerdict, "outcome" | "error"> {
  const smtp = SmtpError.parse(error);
  const { code, responseCode } = smtp;
  if (responseCode === undefined && isSent) {
    return {
      outcome: "unknown",
      error:
        "email_unknown: the connection was lost after the end of the message, before the server's answer",
    };
  }
  if (error instanceof TerminalError)
    return { outcome: "rejected", error: `${error.code}: ${error.message}` };
  if (isLate || code === "ETIMEDOUT")
    return { outcome: null, error: "email_timeout: the mail server did not answer in time" };
  if (code === "EAUTH" && Math.trunc((responseCode ?? 500) / 100) !== 4) {
    const settings = server.egress === null ? "SMTP_URL" : "its tenant";
    return {
      outcome: null,
      error: `smtp_unauthorized: the mail server does not accept the login of ${settings}`,
    };
  }
  if (responseCode !== undefined && responseCode >= 500)
    return {
      outcome: "rejected",
      error: `email_refused: ${withoutLogin(messageOf(error), server).slice(0, 300)}`,
    };
  if (responseCode !== undefined) {
    const message = `email_deferred: the mail server does not take the mail now (${responseCode})`;
    return { outcome: null, error: message };
  }
  const fault = connectionFault(smtp);
  const reason = fault?.sentence ?? "the mail server cannot be reached, or closed the connection";
  return { outcome: null, error: `${fault?.isEncryption ? "smtp_unencrypted" : "unreachable"}: ${reason}` };
}

/** The text of a server without the login that it was sent, which it may quote. */
function withoutLogin(text: string, { url }: MailServer): string {
  const parsed = parseMailServerUrl(url);
  if ("error" in parsed) return redact(text, [url]);
  const base64 = (login: string): string => Buffer.from(login).toString("base64");
  const { user, password } = parsed;
  return redact(text, [password, base64(password), base64(`\0${user ?? ""}\0${password}`)]);
}
