import { invalidField } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
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
  if (EGRESS_ALLOW.refuses(url.hostname)) throw invalidField(field, NOT_PUBLIC);
  return url.href;
}

const NOT_PUBLIC = "is not a public address, and EGRESS_ALLOW does not name it";

/**
 * A warning about the URL of a definition when workers refuse its address: each call fails. It is no error, because a definition may
 * be saved before the operator names the address.
 * @param path the field of the definition that holds the address
 */
export function addressWarnings(url: string, { EGRESS_ALLOW }: Config, path = "url"): FieldError[] {
  const at = url === "" ? null : URL.parse(url);
  if (at === null || !EGRESS_ALLOW.refuses(at.hostname)) return [];
  return [{ path, message: `${NOT_PUBLIC}: workers do not call it` }];
}
