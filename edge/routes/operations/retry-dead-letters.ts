import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { countDeadLetters, listDeadLetters } from "../../../shared/store/runs/dead-letters.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { Bulk, Page, forEach } from "../../runs/bulk.ts";
import {
  DeadLetterChoice,
  DeadLetterId,
  filterOf,
  idOf,
  partsOf,
} from "../../operations/dead-letter-view.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { retry } from "../../runs/retry.ts";

/** Everything is only retried by who says so. */
const Request = z
  .object({
    ...DeadLetterChoice.shape,
    ...Page.shape,
    cursor: DeadLetterId.optional(),
    all: z.boolean().default(false),
  })
  .refine((body) => body.all || body.tenant_id || body.orchestration_id || body.code, {
    message: "name a tenant_id, an orchestration_id or a code, or say all: true",
    path: ["all"],
  })
  .meta({ id: "RetryDeadLetters" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/dlq/retry`,
    summary: "Retry the runs of many dead letters",
    description:
      "Those that the filter names, the newest first, at most `limit` a request; `next_cursor` leads on. " +
      "Each has its own answer: `queued`, or the code of what kept it. `dry_run` only counts.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), jsonBody] as const,
    request: { body: { required: true, content: { "application/json": { schema: Request } } } },
    responses: { 200: json(Bulk, "What became of each"), ...problems(400, 413, 415, 422) },
  });

export const retryDeadLetters = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { limit, cursor, dry_run, all: _all, ...choice } = c.req.valid("json");
    const services = c.get("services");
    const { sql } = services;
    const filter = filterOf(c.get("principal"), choice);
    if (dry_run) {
      return c.json(
        { dry_run, matched: await countDeadLetters(sql, filter), results: [], next_cursor: null },
        200,
      );
    }
    const letters = await listDeadLetters(sql, filter, cursor === undefined ? null : partsOf(cursor), limit);
    const results = await forEach(
      letters.map((letter) => letter.run_id),
      async (run) => {
        await retry(services, filter.tenant, run, null);
        return "queued";
      },
    );
    const last = letters.at(-1);
    const next_cursor = last && letters.length === limit ? idOf(last) : null;
    return c.json({ dry_run, matched: letters.length, results, next_cursor }, 200);
  });
};
