import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { DeliveryId, DeliveryOutcome } from "../../../shared/contracts/webhook.ts";
import { AppError } from "../../../shared/errors.ts";
import { listDeliveries as list } from "../../../shared/store/webhooks/delivery-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { filterOf } from "../../operations/dead-letter-view.ts";
import { Delivery, deliveryOf } from "../../operations/delivery-view.ts";
import { needs } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext } from "../../http/paging.ts";

const Choice = z.object({
  tenant_id: TenantId.optional(),
  run_id: RunId.optional(),
  outcome: z.enum([...DeliveryOutcome.options, "pending"]).optional(),
});

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/webhooks`,
    summary: "List deliveries of webhooks",
    description:
      "What was told, or is still to be told, of the ends of runs and of their pauses, the newest first. The header " +
      "`Link` leads to the next page. A tenant's key sees its tenant's.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: PageQuery.extend(Choice.shape) },
    responses: { 200: json(z.array(Delivery), "The deliveries"), ...problems(400, 422) },
  });

export const listDeliveries = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit, tenant_id, run_id = null, outcome = null } = c.req.valid("query");
    const { tenant } = filterOf(c.get("principal"), { tenant_id });
    const rows = await list(
      c.get("services").sql,
      { tenant, run: run_id, outcome },
      readCursor(cursor),
      limit,
    );
    const deliveries = rows.map(deliveryOf);
    linkNext(
      c,
      limit,
      deliveries.map(({ id }) => id),
    );
    return c.json(deliveries, 200);
  });
};

/** @throws AppError `bad_cursor` */
function readCursor(cursor: string): string | null {
  if (cursor === "") return null;
  const id = DeliveryId.safeParse(cursor);
  if (!id.success)
    throw new AppError("bad_cursor", "This cursor is not of this list; take it from the header Link.");
  return id.data;
}
