import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { ApiKey } from "../../../shared/contracts/tenant.ts";
import type { Principal, Scope } from "../../../shared/contracts/tenant.ts";
import { AppError } from "../../../shared/errors.ts";
import { findPrincipal } from "../../../shared/store/tenants/api-keys.ts";
import { elapsedMs } from "../../../shared/tasks/elapsed-ms.ts";
import type { ApiEnv } from "../api.ts";
import type { Services } from "../../services.ts";
import { reportKeyUse } from "./key-use.ts";

/** A principal is cached this long, so a revoked key works this much longer at most. An expired key is refused at once. */
const CACHE_MS = 30_000;
/**
 * At this age of a cached principal one request looks its key up again, after its response. Otherwise all requests with the key would
 * look it up at the moment when the cached one expires.
 */
const REFRESH_MS = 20_000;
const MAX_CACHED_KEYS = 10_000;

/** Principals by key, in this isolate. Unknown keys are not cached, so that a new key works at once. */
const cache = new Map<string, { principal: Principal; until: number; refreshAt: number }>();

/** Requires a key with `scope`, and puts its principal into the context. */
export function needs(scope: Scope) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const principal = await principalOf(c, bearerKey(c));
    requireScope(principal, scope);
    c.set("principal", principal);
    await next();
  });
}

/** Requires a platform key with `scope`: for routes that concern all tenants. */
export function needsPlatform(scope: Scope) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const principal = await principalOf(c, bearerKey(c));
    requireScope(principal, scope);
    if (principal.tenant !== null)
      throw new AppError("forbidden", "This requires a platform key; this key belongs to a tenant.");
    c.set("principal", principal);
    await next();
  });
}

/** @throws AppError `forbidden` that names the missing scope */
export function requireScope(principal: Principal, scope: Scope): void {
  if (!principal.scopes.includes(scope))
    throw new AppError("forbidden", `This key does not have the scope ${scope}.`);
}

/** The key of the Authorization header. @throws AppError `unauthorized` */
export function bearerKey(c: Context<ApiEnv>): string {
  const key = /^bearer +([^ ]+)$/i.exec(c.req.header("authorization") ?? "")?.[1];
  if (key === undefined)
    throw new AppError("unauthorized", "Send an API key: Authorization: Bearer sk-syn-…");
  return key;
}

/**
 * The principal of a key. A request of a tenant's key is counted here, once, against the tenant's rate. From here on the request has
 * settings that are up to date, and its statements take the turns of its tenant.
 * @throws AppError `unauthorized` for a key that is unknown, revoked or expired; `rate_limited` beyond the tenant's rate
 */
export async function principalOf(c: Context<ApiEnv>, key: string): Promise<Principal> {
  const services = c.get("services");
  const principal = await cachedPrincipal(services, key, addressOf(c));
  const { tenant, key_id } = principal;
  await services.refreshLiveValues(tenant);
  services.takeTurnsOf(tenant ?? key_id);
  const limits = tenant === null || c.get("quota") !== undefined ? null : services.edgeLimitsOf(tenant);
  if (limits !== null)
    c.set("quota", [services.requestRates.take(limits.tenant_id, limits.requests_per_second)]);
  reportKeyUse(services, key_id);
  return principal;
}

async function cachedPrincipal(services: Services, key: string, address: string): Promise<Principal> {
  const known = cache.get(key);
  const nowMs = elapsedMs();
  if (known && known.until > nowMs) {
    if (known.refreshAt <= nowMs) {
      known.refreshAt = known.until;
      // When this look-up fails, the first request after the expiry looks the key up, and gets the error.
      services.waitUntil(lookUp(services, key).catch(() => null));
    }
    return known.principal;
  }
  cache.delete(key);
  if (!(await mayLookUp(services, key, address))) {
    throw new AppError("rate_limited", "This address has tried too many keys; try again in a moment.", {
      retryAfterSeconds: 10,
    });
  }
  const principal = await lookUp(services, key);
  if (principal) return principal;
  throw new AppError(
    "unauthorized",
    key.startsWith("syn-st.")
      ? "This is a stream token, and no API key: it opens the streams of its run or session, as ?token= in their URL."
      : "This API key is unknown, expired or revoked.",
  );
}

/** Looks a key up in Postgres and caches its principal, or drops the key from the cache when it is no longer valid. */
async function lookUp(services: Services, key: string): Promise<Principal | null> {
  const found = ApiKey.safeParse(key).success ? await findPrincipal(services.sql, key) : null;
  cache.delete(key);
  if (!found) return null;
  const { expires_in_ms, ...principal } = found;
  const oldest = cache.keys().next();
  if (cache.size >= MAX_CACHED_KEYS && !oldest.done) cache.delete(oldest.value);
  const nowMs = elapsedMs();
  const until = nowMs + Math.min(CACHE_MS, expires_in_ms ?? CACHE_MS);
  cache.set(key, { principal, until, refreshAt: nowMs + REFRESH_MS });
  return principal;
}

/** Whether a key may be looked up: it bounds the look-ups that an address causes by guessing. A malformed key causes none. */
async function mayLookUp(services: Services, key: string, address: string): Promise<boolean> {
  return !ApiKey.safeParse(key).success || services.mayLookUpKey(address);
}

function addressOf(c: Context<ApiEnv>): string {
  return c.req.header("cf-connecting-ip") ?? "unknown";
}

/**
 * The tenant that a request is about: the tenant that it names, else the key's, else the installation's default.
 * @throws AppError `forbidden` when a tenant's key names another tenant
 */
export function tenantOf(principal: Principal, named: TenantId | undefined, fallback: TenantId): TenantId {
  return tenantFilterOf(principal, named) ?? fallback;
}

/**
 * The tenant whose rows a request may see or change; null: the rows of all tenants, for a platform key that names none.
 * @throws AppError `forbidden` when a tenant's key names another tenant
 */
export function tenantFilterOf(principal: Principal, named: TenantId | undefined): TenantId | null {
  if (principal.tenant === null) return named ?? null;
  if (named !== undefined && named !== principal.tenant) {
    throw new AppError("forbidden", "This key belongs to another tenant than the request names.");
  }
  return principal.tenant;
}
