import { createRoute } from "@hono/zod-openapi";
import { ProviderLimit, providerModelOf } from "../../../shared/contracts/provider-limit.ts";
import { AppError } from "../../../shared/errors.ts";
import {
  MAX_PROVIDER_LIMITS,
  saveProviderLimit as save,
} from "../../../shared/store/money/provider-limits.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "put",
    path: `${prefix}/provider-limits`,
    operationId: operationIdAt(prefix, "saveProviderLimit"),
    tags: ["Money"],
    summary: "Limit the calls to a model of a provider",
    description:
      "Calls at a time, and requests and tokens a minute, of all workers together; `provider/*` holds for each model of the provider without limits of its own. It acts within 5 s. A call for which there is no room waits: its run gives its slot back, and `/why` says when it asks again. `context_tokens` is the model's window: conversations of agents are compacted by it, and results of tools are cut.",
    security: [{ key: ["admin"] }],
    middleware: [
      needsPlatform("admin"),
      jsonBody({ schema: ProviderLimit }),
      audited("saveProviderLimit"),
    ] as const,
    request: { body: { required: true, content: { "application/json": { schema: ProviderLimit } } } },
    responses: { 200: json(ProviderLimit, "Saved"), ...problems(400, 413, 415, 422) },
  });

export const saveProviderLimit = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const limit = c.req.valid("json");
    c.set("audit", { target: limit.model, tenant: null });
    const name = providerModelOf(limit.model);
    if (name !== null && (await save(c.get("services").sql, name, limit))) {
      return c.json({ ...limit, model: `${name.provider}/${name.model}` }, 200);
    }
    const message = `would be one more than the ${MAX_PROVIDER_LIMITS} models that may have limits`;
    throw new AppError("invalid", `This limit ${message}.`, { fields: [{ path: "model", message }] });
  });
};
