import { z } from "zod";

/**
 * What an error of nodemailer says: the status that the server replied with, if it did, and a name. Where `code` is the package's own,
 * such as `ESOCKET`, `originalCode` is that of Node or TLS, such as `CERT_HAS_EXPIRED`.
 */
export const SmtpError = z
  .object({
    code: z.string().optional(),
    originalCode: z.string().optional(),
    responseCode: z.number().optional(),
  })
  .catch({});
export type SmtpError = z.infer<typeof SmtpError>;

/** Names of errors of a certificate, and of a port that does not speak TLS. */
const NOT_ENCRYPTED = /^(?:ETLS|ERR_TLS_.*|ERR_SSL_.*|.*CERT.*|UNABLE_TO_.*)$/;

/**
 * Why there is no connection to a mail server, in a sentence without its text, which may quote the login. `isEncryption`: the server is
 * there, and the connection cannot be encrypted. Null: the error has no name that says more.
 */
export function connectionFault({
  code = "",
  originalCode: name = code,
}: SmtpError): { sentence: string; isEncryption: boolean } | null {
  if (name === "ERR_SSL_WRONG_VERSION_NUMBER") {
    const sentence =
      "this port is not encrypted from the first byte: write smtp://, and smtps:// for port 465";
    return { sentence, isEncryption: true };
  }
  if (NOT_ENCRYPTED.test(name))
    return { sentence: `the connection cannot be encrypted (${name})`, isEncryption: true };
  if (name === "ECONNREFUSED") return { sentence: "the host refused the connection", isEncryption: false };
  if (name === "ENOTFOUND" || name === "EDNS")
    return { sentence: "the name of the host cannot be resolved", isEncryption: false };
  return null;
}
