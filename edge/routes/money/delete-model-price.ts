import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { deleteModelPrice as remove } from "../../../shared/store/money/model-prices.ts";
import { operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/model-prices`,
    operationId: operationIdAt(prefix, "deleteModelPrice"),
    tags: ["Money"],
    summary: "Remove the operator's price of a model",
    description: "The built-in price holds again, if there is one.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), audited("deleteModelPrice")] as const,
    request: { query: z.object({ model: z.string().min(1).max(200) }) },
    responses: { 204: { description: "Removed" }, ...problems(404) },
  });

export const deleteModelPrice = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { model } = c.req.valid("query");
    c.set("audit", { target: model, tenant: null });
    if (await remove(c.get("services").sql, model)) return c.body(null, 204);
    throw new AppError("not_found", `The operator has set no price for ${JSON.stringify(model)}.`);
  });
};
