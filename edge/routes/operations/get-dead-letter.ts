import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { readDeadLetter } from "../../../shared/store/runs/dead-letters.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import {
  DeadLetterDetail,
  DeadLetterId,
  deadLetterDetailOf,
  noDeadLetter,
  parseDeadLetterId,
} from "../../operations/dead-letter-view.ts";
import { needs } from "../../http/middleware/principal.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/dlq/{id}`,
    operationId: operationIdAt(prefix, "getDeadLetter"),
    tags: ["Operations"],
    summary: "Read a dead letter, with its stack and payload",
    description:
      "The stack names classes, codes and places of this program. The texts of the failure are in the worker's log, in the line `run.failed` with the run's id.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { params: z.object({ id: DeadLetterId }) },
    responses: { 200: json(DeadLetterDetail, "The dead letter"), ...problems(404) },
  });

export const getDeadLetter = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { run_id, seq } = parseDeadLetterId(c.req.valid("param").id);
    const row = await readDeadLetter(c.get("services").sql, c.get("principal").tenant, run_id, seq);
    if (!row) throw noDeadLetter();
    return c.json(deadLetterDetailOf(row, c.req.path), 200);
  });
};
