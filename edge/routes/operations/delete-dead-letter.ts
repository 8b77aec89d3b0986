import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { dismissDeadLetter } from "../../../shared/store/runs/dead-letters.ts";
import { operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { DeadLetterId, noDeadLetter, parseDeadLetterId } from "../../operations/dead-letter-view.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/dlq/{id}`,
    operationId: operationIdAt(prefix, "deleteDeadLetter"),
    tags: ["Operations"],
    summary: "Dismiss a dead letter",
    description: "Removes it from the list. Its run does not change and can still be retried.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), audited("deleteDeadLetter")] as const,
    request: { params: z.object({ id: DeadLetterId }) },
    responses: { 204: { description: "Dismissed" }, ...problems(404) },
  });

export const deleteDeadLetter = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { run_id, seq } = parseDeadLetterId(c.req.valid("param").id);
    if (!(await dismissDeadLetter(c.get("services").sql, c.get("principal").tenant, run_id, seq))) {
      throw noDeadLetter();
    }
    return c.body(null, 204);
  });
};
