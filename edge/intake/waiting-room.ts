import type { Context } from "hono";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "../http/api.ts";
import { MAX_TENANT_BYTES } from "./fair-queue.ts";

/** A body without a length is taken for as large as a body may be. */
const MAX_BODY_BYTES = 1024 * 1024;

/** The bytes of the bodies that this isolate holds while their runs are accepted, by tenant. */
const held = new Map<TenantId, number>();

/**
 * Counts a request's body as held for its tenant while `accept` runs. A request whose tenant is known by its key is
 * counted before its body is read.
 * @throws AppError `rate_limited` when the tenant's requests hold 16 MiB: the body need not be read then
 */
export async function whileHeld<Result>(
  c: Context<ApiEnv>,
  tenant: TenantId,
  accept: () => Promise<Result>,
): Promise<Result> {
  const bytes = Number(c.req.header("content-length") ?? MAX_BODY_BYTES);
  const before = held.get(tenant) ?? 0;
  if (before > 0 && before + bytes > MAX_TENANT_BYTES) {
    throw new AppError(
      "rate_limited",
      `The requests of tenant ${tenant} that are being accepted hold 16 MiB; try again in a moment.`,
      { retryAfterSeconds: 1 },
    );
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
