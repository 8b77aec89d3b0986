import { createRoute } from "@hono/zod-openapi";
import { ModelPrice } from "../../../shared/contracts/model-price.ts";
import { AppError } from "../../../shared/errors.ts";
import { MAX_PRICES, saveModelPrice as save } from "../../../shared/store/money/model-prices.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "put",
    path: `${prefix}/model-prices`,
    operationId: operationIdAt(prefix, "saveModelPrice"),
    tags: ["Money"],
    summary: "Set the price of a model",
    description:
      "It comes before the built-in price, in workers and in checks of definitions, within 5 s, and replaces a price of the same model under its other name (with or without the provider). Calls that are charged already keep their cost.",
    security: [{ key: ["admin"] }],
    middleware: [
      needsPlatform("admin"),
      jsonBody({ schema: ModelPrice }),
      audited("saveModelPrice"),
    ] as const,
    request: {
      body: {
        required: true,
        content: { "application/json": { schema: ModelPrice.meta({ id: "ModelPrice" }) } },
      },
    },
    responses: { 200: json(ModelPrice.meta({ id: "ModelPrice" }), "Saved"), ...problems(400, 413, 415) },
  });

export const saveModelPrice = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const price = c.req.valid("json");
    c.set("audit", { target: price.model, tenant: null });
    if (await save(c.get("services").sql, price)) return c.json(price, 200);
    const message = `would be one more than the ${MAX_PRICES} prices that may be set`;
    throw new AppError("invalid", `This price ${message}.`, { fields: [{ path: "model", message }] });
  });
};
