import { z } from "zod";
import { percentDecoded } from "../http/percent-decoded.ts";
import { sealedPlace } from "../security/seal.ts";
import { MASK } from "./definition/tool-secrets.ts";

/** The ports of mail servers: RFC 5321, RFC 8314, RFC 6409, and the one that providers have beside 587. */
const MAIL_PORTS: ReadonlySet<number> = new Set([25, 465, 587, 2525]);
const DEFAULT_PORTS = { "smtp:": 587, "smtps:": 465 } as const;
const FORM = "must be smtp://user:password@host:587 or smtps://user:password@host:465";

/** The sender of mails: an address, or a name with an address in angle brackets. @param name begins the error text */
export const mailSenderAddress = (name = "") =>
  z
    .string()
    .max(320)
    .regex(
      /^(?:[^\r\n<>]*<[^\s<>@]+@[^\s<>@]+>|[^\s<>@]+@[^\s<>@]+)$/,
      `${name}must be an address such as Shop <mail@example.com>`,
    );

/** The domain of a sender (`mailSenderAddress`), in ASCII. Null: it is none that mail servers take. */
export function senderDomain(sender: string): string | null {
  const domain = /@([^\s<>@]+)>?\s*$/.exec(sender)?.[1];
  return (domain && URL.parse(`http://${domain}`)?.hostname) || null;
}

/** The body of a request that saves the mail server of a tenant. A mask as `smtp_url` keeps the stored one. */
export const MailServerRequest = z
  .object({
    smtp_url: z
      .string()
      .max(2_000)
      .describe(
        "`smtp://user:password@host:587`, which uses TLS where the server offers it, or `smtps://…:465`. It is sealed as a whole and " +
          "never shown; `********` keeps the stored one",
      ),
    smtp_from: mailSenderAddress().describe("The sender of the tenant's mails"),
  })
  .meta({ id: "MailServerRequest" });

/** Where a mail server is. `user` null: it takes mails without a login. */
export type MailServerUrl = {
  host: string;
  port: number;
  /** TLS from the first byte; else where the server offers it. */
  secure: boolean;
  user: string | null;
  password: string;
};

/**
 * The parts of a mail server's URL, or what is wrong with it. Options in a query are refused: they could turn off the check of
 * certificates, or lead through a proxy. The error quotes nothing of the URL, which holds a password.
 */
export function parseMailServerUrl(text: string): MailServerUrl | { error: string } {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "smtp:" && url.protocol !== "smtps:") || url.hostname === "")
    return { error: FORM };
  if (!/^\/?$/.test(url.pathname) || url.search !== "" || url.hash !== "")
    return { error: "may have a user, a password, a host and a port, and nothing after them" };
  const [user, password] = [percentDecoded(url.username), percentDecoded(url.password)];
  if (user === null || password === null) return { error: "has a % that is no escape: write %25" };
  if (user === "" && password !== "") return { error: "has a password and no user" };
  return {
    host: url.hostname.replace(/^\[|\]$/g, ""),
    port: Number(url.port || DEFAULT_PORTS[url.protocol]),
    secure: url.protocol === "smtps:",
    user: user === "" ? null : user,
    password,
  };
}

/** Whether the port is one of mail servers. Any other one needs a host that the operator has listed. */
export function isMailPort(port: number): boolean {
  return MAIL_PORTS.has(port);
}

/** Whether the `smtp_url` of a request is a mask, which keeps the stored URL. */
export function keepsUrl(text: string): boolean {
  return text === MASK;
}

/** The place for which the URL of a tenant's mail server is sealed. */
export function mailServerPlace(tenant: string): string {
  return sealedPlace(`mail-server/${tenant}`, "smtp_url");
}

/** The place for which the URL of a request is sealed that asks a worker to test it. */
export function mailTestPlace(question: string): string {
  return sealedPlace(`mail-test/${question}`, "smtp_url");
}

/**
 * The mail server that a worker is asked to test: null for the worker's own; else the sealed URL of the stored server of `tenant`, or,
 * if `tenant` is null, of one that the request names (sealed for `mailTestPlace`).
 */
export const MailTest = z.object({ tenant: z.string().nullable(), sealed: z.string() }).nullable();
export type MailTest = z.infer<typeof MailTest>;

/** The outcome of a test, in words of this API: not the server's own, which may quote the login. */
export const MailTestOutcome = z.object({ status: z.enum(["ok", "error"]), message: z.string() });
export type MailTestOutcome = z.infer<typeof MailTestOutcome>;
