import { invalidField } from "../../shared/errors.ts";
import { isBadPort } from "../../shared/security/egress-policy.ts";
import type { Config } from "../env.ts";

/**
 * The URL of a server that workers call, in the form in which it is requested.
 *
 * Only a literal address can be refused here: the worker resolves host names, at each request.
 * @param field the name of the request's field
 * @throws AppError `invalid`
 */
export function outboundUrl(text: string, field: string, { EGRESS_ALLOW }: Config): string {
  const url = new URL(text);
  if (url.port === "0") throw invalidField(field, "has the port 0, on which no server listens");
  if (isBadPort(url.port))
    throw invalidField(field, `has the port ${url.port}, which is for another protocol`);
  if (EGRESS_ALLOW.refuses(url.hostname)) {
    throw invalidField(field, "is not a public address, and EGRESS_ALLOW does not name it");
  }
  return url.href;
}
