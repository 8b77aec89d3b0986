import { z } from "zod";
import { MASK } from "../../shared/contracts/definition/tool-secrets.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { isMailPort, mailServerPlace, parseMailServerUrl } from "../../shared/contracts/mail-server.ts";
import { AppError, invalidField } from "../../shared/errors.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { seal } from "../../shared/security/seal.ts";
import type { MailServerRow } from "../../shared/store/mails/mail-servers.ts";
import type { Config } from "../env.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** The mail server of a tenant as administrators see it: its whole URL is masked. */
export const MailServer = z
  .object({
    tenant_id: z.string(),
    smtp_url: z.literal(MASK),
    smtp_from: z.string(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "MailServer" });

export function mailServerOf(tenant: TenantId, row: MailServerRow): z.infer<typeof MailServer> {
  const { smtp_from, updated_at_ms } = row;
  return { tenant_id: tenant, smtp_url: MASK, smtp_from, updated_at: isoTime(updated_at_ms) };
}

export function noMailServer(tenant: TenantId): AppError {
  return new AppError(
    "not_found",
    `The tenant ${tenant} has no mail server of its own: its mails go through the operator's.`,
  );
}

/**
 * Checks the URL of a mail server in a request: a public host at a port of mail servers, or a host in EGRESS_ALLOW. For a host name the
 * worker that connects decides, by the addresses that the name then has.
 * @throws AppError `invalid` for another URL; `forbidden` for another target
 */
export function requireMailTarget({ EGRESS_ALLOW }: Config, text: string): void {
  const server = parseMailServerUrl(text);
  if ("error" in server) throw invalidField("smtp_url", server.error);
  const { host, port } = server;
  const allowed = EGRESS_ALLOW.lists(host) || (!EGRESS_ALLOW.refuses(host) && isMailPort(port));
  if (allowed) return;
  throw new AppError(
    "forbidden",
    "A mail server is at a public address and has the port 25, 465, 587 or 2525, or the operator allows its host: add it to EGRESS_ALLOW.",
  );
}

/** Seals the URL of a mail server. @param place where alone it opens again @throws AppError `invalid` without MASTER_KEY */
export async function sealMailUrl(config: Config, text: string, place: string): Promise<string> {
  const keys = masterKeysOf(config);
  if (keys) return seal(keys, text, place);
  throw invalidField("smtp_url", "cannot be stored or sent to a worker: this installation has no MASTER_KEY");
}

/** The URL of a tenant's mail server, checked and sealed. @throws AppError `invalid`, `forbidden` */
export async function sealedMailServer(config: Config, tenant: TenantId, text: string): Promise<string> {
  requireMailTarget(config, text);
  return sealMailUrl(config, text, mailServerPlace(tenant));
}
