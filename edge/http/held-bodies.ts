import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { MAX_WAITING_BYTES } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "./api.ts";

/** Bodies of all tenants that are held at once. Only large ones are refused for it: small ones are not what fills an isolate. */
const MAX_HELD_BYTES = 64 * 1024 * 1024;
const LARGE_BYTES = 64 * 1024;

/** The bytes of the bodies that this isolate holds while their runs are accepted, by tenant. */
const held = new Map<TenantId, number>();

/**
 * Counts a request's body as held for the tenant of its key, before the body is read. A platform key names the tenant in
 * its body: the handler counts that one with `whileHeld`.
 */
export const holdBody = createMiddleware<ApiEnv>(async (c, next) => {
  const { tenant } = c.get("principal");
  return tenant === null ? next() : whileHeld(c, tenant, next);
});

/**
 * Counts a request's body as held for a tenant while `accept` runs.
 * @throws AppError `rate_limited` when the tenant's requests hold 16 MiB, `capacity` when those of all tenants hold 64 MiB
 */
export async function whileHeld<Result>(
  c: Context<ApiEnv>,
  tenant: TenantId,
  accept: () => Promise<Result>,
): Promise<Result> {
  // A body without a length has been read already, to count it.
  const bytes = Number(c.req.header("content-length") ?? (await c.req.text()).length);
  const before = held.get(tenant) ?? 0;
  if (before > 0 && before + bytes > MAX_WAITING_BYTES) {
    throw new AppError(
      "rate_limited",
      `The requests of tenant ${tenant} that are being accepted hold 16 MiB; try again in a moment.`,
      { retryAfterSeconds: 1 },
    );
  }
  if (bytes > LARGE_BYTES && allHeld() + bytes > MAX_HELD_BYTES) {
    const detail = "The requests that are being accepted hold 64 MiB; try again in a moment.";
    throw new AppError("capacity", detail, { retryAfterSeconds: 1 });
  }
  held.set(tenant, before + bytes);
  try {
    return await accept();
  } finally {
    const after = (held.get(tenant) ?? 0) - bytes;
    if (after > 0) held.set(tenant, after);
    else held.delete(tenant);
  }
}

function allHeld(): number {
  return Array.from(held.values()).reduce((sum, bytes) => sum + bytes, 0);
}
