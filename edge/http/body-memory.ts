import { createMiddleware } from "hono/factory";
import type { Context } from "hono";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { MAX_WAITING_BYTES } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "./api.ts";

/** The most bytes of all tenants' bodies. Beyond it only large bodies are refused: small ones do not fill an isolate. */
const MAX_BYTES = 64 * 1024 * 1024;
const LARGE_BYTES = 64 * 1024;

/** The bytes of the bodies that this isolate has in memory while their runs are accepted, by tenant. */
const bytesOf = new Map<TenantId, number>();

/**
 * Counts a request's body for the tenant of its key, before the body is read. A platform key names the tenant in its body:
 * then the handler calls `withinBodyMemory` itself.
 */
export const limitBodyMemory = createMiddleware<ApiEnv>(async (c, next) => {
  const { tenant } = c.get("principal");
  return tenant === null ? next() : withinBodyMemory(c, tenant, next);
});

/**
 * Counts a request's body for a tenant while `accept` runs.
 * @throws AppError `rate_limited` when the tenant's requests hold 16 MiB, `capacity` when those of all tenants hold 64 MiB
 */
export async function withinBodyMemory<Result>(
  c: Context<ApiEnv>,
  tenant: TenantId,
  accept: () => Promise<Result>,
): Promise<Result> {
  // `limitBody` has read a body without a Content-Length already, to count its bytes.
  const bytes = Number(c.req.header("content-length") ?? (await c.req.text()).length);
  const before = bytesOf.get(tenant) ?? 0;
  if (before > 0 && before + bytes > MAX_WAITING_BYTES) {
    throw new AppError(
      "rate_limited",
      `The requests of tenant ${tenant} that are being accepted hold 16 MiB; try again in a moment.`,
      { retryAfterSeconds: 1 },
    );
  }
  if (bytes > LARGE_BYTES && bytesOfAll() + bytes > MAX_BYTES) {
    const detail = "The requests that are being accepted hold 64 MiB; try again in a moment.";
    throw new AppError("capacity", detail, { retryAfterSeconds: 1 });
  }
  bytesOf.set(tenant, before + bytes);
  try {
    return await accept();
  } finally {
    const after = (bytesOf.get(tenant) ?? 0) - bytes;
    if (after > 0) bytesOf.set(tenant, after);
    else bytesOf.delete(tenant);
  }
}

function bytesOfAll(): number {
  return Array.from(bytesOf.values()).reduce((sum, bytes) => sum + bytes, 0);
}
