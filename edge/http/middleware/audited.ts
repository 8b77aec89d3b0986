import { createMiddleware } from "hono/factory";
import { log, messageOf } from "../../../shared/log.ts";
import { beginAudit, completeAudit } from "../../../shared/store/audit.ts";
import type { ApiEnv } from "../api.ts";

/**
 * Records an administrator's request in the audit, also when its handler refuses it. It comes after the check of the key. The row is
 * written before the change, so no change is without a row; the row's `status` is written after it. Without Postgres nothing is changed.
 * @param action the name of the operation in the API's document
 */
export function audited(action: string) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const { sql, waitUntil } = c.get("services");
    const { key_id, tenant } = c.get("principal");
    const target = c.req.param("id")?.slice(0, 255) ?? null;
    const id = await beginAudit(sql, { key_id, action, target, tenant, request_id: c.get("requestId") });
    await next();
    const completed = completeAudit(sql, id, { ...c.get("audit"), status: c.res.status });
    waitUntil(
      completed.catch((error: unknown) => log.warn("audit.not_completed", { id, message: messageOf(error) })),
    );
  });
}
