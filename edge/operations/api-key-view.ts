import { z } from "zod";
import { TenantId } from "../../shared/contracts/ids.ts";
import { Scope } from "../../shared/contracts/tenant.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import type { KeyRow } from "../../shared/store/tenants/api-keys.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

const time = z.iso.datetime().nullable();

export const KeyId = z.string().regex(/^key_[0-9a-f]{16}$/, "must look like key_2483e17734070a1b");

/** An API key, as its administrators see it. */
export const ApiKeyView = z
  .object({
    id: KeyId,
    /** Null: a key of the platform. */
    tenant_id: TenantId.nullable(),
    name: z.string(),
    /** The first characters of the key. */
    prefix: z.string(),
    scopes: z.array(Scope),
    status: z.enum(["valid", "expired", "revoked"]),
    created_at: z.iso.datetime(),
    expires_at: time,
    revoked_at: time,
    /** Accurate to about a minute. */
    last_used_at: time,
    /** The key that replaces this one. */
    rotated_to: KeyId.nullable(),
  })
  .meta({ id: "ApiKey" });

/** A key that was just made. */
export const NewApiKey = ApiKeyView.extend({
  key: z.string().meta({ description: "The key itself: it is shown this once" }),
}).meta({ id: "NewApiKey" });

export function keyViewOf(row: KeyRow): z.infer<typeof ApiKeyView> {
  return {
    id: row.key_id,
    tenant_id: row.tenant_id,
    name: row.name,
    prefix: row.prefix,
    scopes: row.scopes,
    status: row.status,
    created_at: isoTime(Math.floor(row.created_us / 1_000)),
    expires_at: isoTime(row.expires_at_ms),
    revoked_at: isoTime(row.revoked_at_ms),
    last_used_at: isoTime(row.last_used_at_ms),
    rotated_to: row.rotated_to,
  };
}

/** Refuses to give a new key scopes that the caller's key lacks. @throws AppError `forbidden` that names them */
export function requireScopes({ scopes }: Principal, wanted: readonly Scope[]): void {
  const missing = wanted.filter((scope) => !scopes.includes(scope));
  if (missing.length === 0) return;
  throw new AppError(
    "forbidden",
    `This key does not have the scope ${missing.join(", ")}, so it can give it to no key.`,
  );
}

export function noKey(): AppError {
  return new AppError("not_found", "There is no such key.");
}

/** The error for a key that makes another one, and that Postgres knows to be revoked or expired. */
export function notValid(): AppError {
  return new AppError("unauthorized", "This API key is expired or revoked.");
}
