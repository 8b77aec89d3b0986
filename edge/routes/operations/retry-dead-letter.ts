import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { readDeadLetter } from "../../../shared/store/runs/dead-letters.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { DeadLetterId, noDeadLetter, parseDeadLetterId } from "../../operations/dead-letter-view.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";
import { retry } from "../../runs/retry.ts";
import { RunAccepted, acceptedOf } from "../../runs/run-view.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/dlq/{id}/retry`,
    operationId: operationIdAt(prefix, "retryDeadLetter"),
    tags: ["Operations"],
    summary: "Retry the run of a dead letter",
    description:
      "The same as a retry of the run: it continues from its last result, and the dead letter leaves the list.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), audited("retryDeadLetter")] as const,
    request: { params: z.object({ id: DeadLetterId }) },
    responses: { 202: json(RunAccepted, "Queued again"), ...problems(404, 409, 429) },
  });

export const retryDeadLetter = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { run_id, seq } = parseDeadLetterId(c.req.valid("param").id);
    const { tenant } = c.get("principal");
    const services = c.get("services");
    const letter = await readDeadLetter(services.sql, tenant, run_id, seq);
    if (!letter) throw noDeadLetter();
    if (letter.resolved_at_ms !== null) {
      throw new AppError("conflict", "This dead letter was already retried or dismissed.");
    }
    await retry(services, tenant, run_id, null, seq);
    return c.json(acceptedOf(run_id), 202);
  });
};
