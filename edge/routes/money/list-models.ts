import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { ModelPrice, listPrices } from "../../../shared/contracts/model-price.ts";
import { readModelPrices } from "../../../shared/store/money/model-prices.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";

const KnownModel = z
  .object({
    ...ModelPrice.shape,
    provider: z.string().nullable(),
    /** `operator`: the operator of this deployment has set the price. */
    source: z.enum(["built_in", "operator"]),
    /** The operator's price takes the place of a built-in one. */
    replaces_built_in: z.boolean(),
  })
  .meta({ id: "KnownModel" });

const route = createRoute({
  method: "get",
  path: "/api/v2/models",
  operationId: "listModels",
  tags: ["Money"],
  summary: "List the models with a known price",
  description:
    "USD for a million tokens. A model that is not here may be called as long as no limit on money holds for the run.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  responses: { 200: json(z.array(KnownModel), "The models"), ...problems() },
});

export function listModels(api: Api): void {
  api.openapi(route, async (c) => c.json(listPrices(await readModelPrices(c.get("services").sql)), 200));
}
