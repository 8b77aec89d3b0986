import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { ProviderLimit } from "../../../shared/contracts/provider-limit.ts";
import { readProviderLimits } from "../../../shared/store/money/provider-limits.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/provider-limits`,
    operationId: operationIdAt(prefix, "listProviderLimits"),
    tags: ["Money"],
    summary: "List the limits of calls to providers",
    description:
      "What all workers together may ask of each model. A model that is not here has no limit but its provider's own.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    responses: { 200: json(z.array(ProviderLimit), "The limits"), ...problems() },
  });

export const listProviderLimits = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => c.json(await readProviderLimits(c.get("services").sql), 200));
};
