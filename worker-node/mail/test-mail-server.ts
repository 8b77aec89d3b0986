import { mailServerPlace, mailTestPlace } from "../../shared/contracts/mail-server.ts";
import type { MailTest, MailTestOutcome } from "../../shared/contracts/mail-server.ts";
import { unsealed } from "../../shared/security/seal.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { SmtpError, connectionFault } from "./connection-fault.ts";
import { openTransport } from "./mail-transport.ts";
import type { MailServer, MailServerDeps } from "./mail-transport.ts";

/** A test has this long in all: the edge waits a little longer. */
const TEST_MS = 6_000;

const NO_SERVER =
  "The worker has no mail server: set its SMTP_URL and SMTP_FROM, or name a server in smtp_url.";

/**
 * Connects to a mail server, encrypts where that is possible and logs in; it sends no mail.
 * @param test null: this worker's own server
 * @param question the question's name, for which its URL was sealed
 */
export async function testMailServer(
  test: MailTest,
  question: string,
  deps: MailServerDeps,
): Promise<MailTestOutcome> {
  const server = await serverOf(test, question, deps);
  if (typeof server === "string") return { status: "error", message: server };
  const signal = AbortSignal.timeout(TEST_MS);
  try {
    const transport = await openTransport(
      { ...server, from: deps.settings?.from ?? null },
      { timeoutMs: TEST_MS, signal, onSent: () => {} },
    );
    try {
      await transport.verify();
    } finally {
      transport.close();
    }
    return { status: "ok", message: "The mail server took the connection and the login." };
  } catch (error) {
    return { status: "error", message: reasonOf(error, signal.aborted) };
  }
}

async function serverOf(
  test: MailTest,
  question: string,
  { settings, egress, masterKey }: MailServerDeps,
): Promise<Pick<MailServer, "url" | "egress"> | string> {
  if (test === null) return settings ? { url: settings.url, egress: null } : NO_SERVER;
  const place = test.tenant === null ? mailTestPlace(question) : mailServerPlace(test.tenant);
  const url = await unsealed(masterKey, test.sealed, place);
  return url === null
    ? "The worker cannot open the URL: its MASTER_KEY is missing, or is not the key that sealed it."
    : { url, egress };
}

function reasonOf(error: unknown, isLate: boolean): string {
  if (error instanceof TerminalError) return "The operator does not allow this host: add it to EGRESS_ALLOW.";
  const smtp = SmtpError.parse(error);
  const { code, responseCode } = smtp;
  if (isLate || code === "ETIMEDOUT") return "The mail server did not answer in time.";
  if (code === "EAUTH") return "The mail server refused the login.";
  const fault = connectionFault(smtp);
  if (fault !== null) return `${fault.sentence.charAt(0).toUpperCase()}${fault.sentence.slice(1)}.`;
  if (responseCode !== undefined) return `The mail server answered ${responseCode}.`;
  return "The mail server cannot be reached, or closed the connection.";
}
