import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { ApiKey } from "../../../shared/contracts/tenant.ts";
import type { Principal, Scope } from "../../../shared/contracts/tenant.ts";
import { AppError } from "../../../shared/errors.ts";
import { findPrincipal } from "../../../shared/store/tenants/api-keys.ts";
import type { ApiEnv } from "../api.ts";
import type { Services } from "../../services.ts";

/** A revoked key works this long at most. */
const REMEMBER_MS = 30_000;
/** From then on one request looks it up again, after its answer: when it is forgotten, all at once would. */
const REFRESH_MS = 20_000;
const REMEMBERED_KEYS = 10_000;

/** Principals by key, in this isolate. Keys that are not known are asked for each time, so that a new one works at once. */
const remembered = new Map<string, { principal: Principal; until: number; refreshAt: number }>();

/** Lets a route be used with a key that has `scope`; the principal is in the context then. */
export function needs(scope: Scope) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const principal = await principalOf(c.get("services"), bearerKey(c), addressOf(c));
    requireScope(principal, scope);
    c.set("principal", principal);
    await next();
  });
}

/** The same for what concerns all tenants: with a platform key alone. */
export function needsPlatform(scope: Scope) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const principal = await principalOf(c.get("services"), bearerKey(c), addressOf(c));
    requireScope(principal, scope);
    if (principal.tenant !== null)
      throw new AppError("forbidden", "This takes a platform key; this one belongs to a tenant.");
    c.set("principal", principal);
    await next();
  });
}

/** @throws AppError `forbidden` that names the missing scope. */
export function requireScope(principal: Principal, scope: Scope): void {
  if (!principal.scopes.includes(scope))
    throw new AppError("forbidden", `This key does not have the scope ${scope}.`);
}

/** The key of the Authorization header. @throws AppError `unauthorized` */
export function bearerKey(c: Context<ApiEnv>): string {
  const [scheme, key, ...more] = (c.req.header("authorization") ?? "").split(" ");
  if (scheme?.toLowerCase() !== "bearer" || key === undefined || more.length > 0) {
    throw new AppError("unauthorized", "Send an API key: Authorization: Bearer sk-syn-…");
  }
  return key;
}

/** Who a key speaks for. @throws AppError `unauthorized` for one that is unknown, revoked or expired */
export async function principalOf(services: Services, key: string, address: string): Promise<Principal> {
  const known = remembered.get(key);
  const nowMs = Date.now();
  if (known && known.until > nowMs) {
    if (known.refreshAt <= nowMs) {
      known.refreshAt = known.until;
      // If that fails, whoever comes after it is forgotten looks it up, and is told.
      services.after(remember(services, key).catch(() => null));
    }
    return known.principal;
  }
  remembered.delete(key);
  if (!(await mayLookUp(services, key, address))) {
    throw new AppError("rate_limited", "Too many keys were tried from this address.", {
      retryAfterSeconds: 10,
    });
  }
  const principal = await remember(services, key);
  if (!principal)
    throw new AppError("unauthorized", "This API key is not known, or has expired or been revoked.");
  return principal;
}

/** Looks a key up and remembers who it speaks for, or that it speaks for nobody any more. */
async function remember(services: Services, key: string): Promise<Principal | null> {
  const principal = ApiKey.safeParse(key).success ? await findPrincipal(services.sql, key) : null;
  remembered.delete(key);
  if (!principal) return null;
  const oldest = remembered.keys().next();
  if (remembered.size >= REMEMBERED_KEYS && !oldest.done) remembered.delete(oldest.value);
  const nowMs = Date.now();
  remembered.set(key, { principal, until: nowMs + REMEMBER_MS, refreshAt: nowMs + REFRESH_MS });
  return principal;
}

/** Guessing costs the guesser: what is no key at all is not looked up, and keys only so many a moment. */
async function mayLookUp(services: Services, key: string, address: string): Promise<boolean> {
  return !ApiKey.safeParse(key).success || services.mayLookUpKey(address);
}

export function addressOf(c: Context<ApiEnv>): string {
  return c.req.header("cf-connecting-ip") ?? "unknown";
}

/**
 * The tenant that a request is about: the one it names, else the key's, else the installation's default.
 * @throws AppError `forbidden` when a tenant's key names another tenant
 */
export function tenantOf(principal: Principal, named: string | undefined, fallback: TenantId): TenantId {
  if (named === undefined) return principal.tenant ?? fallback;
  if (principal.tenant !== null && named !== principal.tenant) {
    throw new AppError(
      "forbidden",
      "This key belongs to another tenant than the one that the request names.",
    );
  }
  return TenantId.parse(named);
}
