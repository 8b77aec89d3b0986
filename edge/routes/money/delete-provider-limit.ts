import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { providerModelOf } from "../../../shared/contracts/provider-limit.ts";
import { AppError } from "../../../shared/errors.ts";
import { deleteProviderLimit as remove } from "../../../shared/store/money/provider-limits.ts";
import { operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/provider-limits`,
    operationId: operationIdAt(prefix, "deleteProviderLimit"),
    tags: ["Money"],
    summary: "Remove the limits of calls to a model",
    description: "What the provider itself says of its limits still holds.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), audited("deleteProviderLimit")] as const,
    request: { query: z.object({ model: z.string().min(1).max(200) }) },
    responses: { 204: { description: "Removed" }, ...problems(404, 422) },
  });

export const deleteProviderLimit = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { model } = c.req.valid("query");
    c.set("audit", { target: model, tenant: null });
    const name = providerModelOf(model);
    if (name !== null && (await remove(c.get("services").sql, name))) return c.body(null, 204);
    throw new AppError("not_found", `The operator has set no limits for ${JSON.stringify(model)}.`);
  });
};
