import { z } from "zod";
import { mailServerPlace, parseMailServerUrl, senderDomain } from "../../shared/contracts/mail-server.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { unsealed } from "../../shared/security/seal.ts";
import type { DueMail } from "../../shared/store/mails/claim-mails.ts";
import { connectGuarded } from "../outbound/guarded-connect.ts";
import type { Egress } from "../outbound/egress-guard.ts";

/** A mail server and the sender of its mails. `egress` null: it is the operator's, to which the guard does not apply. */
export type MailServer = { url: string; from: string; egress: Egress | null };

/** The mail server of this deployment, and the sender of all mails of tenants without a server of their own. */
export type MailSettings = { url: string; from: string };

/** What a worker needs for the mail servers of tenants. `masterKey` null: it cannot open their URLs. */
export type MailServerDeps = { settings: MailSettings | null; egress: Egress; masterKey: MasterKeys | null };

/** The server through which a mail is sent, or why there is none at this worker. */
export async function mailServerOf(
  { tenant_id, server }: Pick<DueMail, "tenant_id" | "server">,
  { settings, egress, masterKey }: MailServerDeps,
): Promise<MailServer | { error: string }> {
  if (server === null) {
    if (settings === null) return { error: "smtp_missing: this worker has no mail server" };
    return { ...settings, egress: null };
  }
  const url = await unsealed(masterKey, server.smtp_url, mailServerPlace(tenant_id));
  if (url === null)
    return {
      error:
        "smtp_sealed: the tenant's mail server cannot be opened: MASTER_KEY is missing, or is not the key that sealed it",
    };
  return { url, from: server.smtp_from, egress };
}

/**
 * A transport for one connection. The package is loaded with the first one.
 *
 * The worker greets the server with the domain of the sender, unless SMTP_URL names another (`?name=`): the name of a container is no domain, and
 * Google's relay, among others, ends a connection that begins with the package's default, `[127.0.0.1]`.
 * @param onSent is called when the whole message has been sent, before the server's reply
 * @throws Error when the URL of a tenant's server cannot be used
 */
export async function openTransport(
  { url, from, egress }: Pick<MailServer, "url" | "egress"> & { from: string | null },
  { timeoutMs, signal, onSent }: { timeoutMs: number; signal: AbortSignal; onSent: () => void },
) {
  const { createTransport } = await import("nodemailer");
  const ignore = (): void => {};
  // The log of the package is the only sign of its progress: it has a line when the last byte of a message was sent, before the reply.
  const info = (entry: unknown): void => {
    if (SentMessage.safeParse(entry).success) onSent();
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
  const domain = from === null ? null : senderDomain(from);
  const greeting = domain === null || URL.parse(url)?.searchParams.has("name") ? {} : { name: domain };
  const limits = {
    ...greeting,
    logger,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  };
  if (egress === null) return createTransport({ url, ...limits });
  const server = parseMailServerUrl(url);
  if ("error" in server) throw new Error("the URL of the mail server cannot be used");
  const { host, port, secure, user, password } = server;
  return createTransport({
    host,
    port,
    secure,
    ...(user !== null && { auth: { user, pass: password } }),
    ...limits,
    getSocket(_options, callback) {
      connectGuarded({ host, port }, egress, signal).then(
        (connection) => callback(null, { connection }),
        (error: unknown) => callback(error instanceof Error ? error : new Error(String(error))),
      );
    },
  });
}

const SentMessage = z.object({ tnx: z.literal("message"), inByteCount: z.number() });
