import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { countDeadLetters, listDeadLetters } from "../../../shared/store/runs/dead-letters.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { BulkPage, BulkResult, applyToEach } from "../../runs/bulk-action.ts";
import {
  DeadLetterSelection,
  DeadLetterId,
  deadLetterFilterOf,
  deadLetterIdOf,
  parseDeadLetterId,
} from "../../operations/dead-letter-view.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { nextCursor } from "../../http/paging.ts";
import { needs } from "../../http/middleware/principal.ts";
import { retry } from "../../runs/retry.ts";

/** A request without a filter must state `all: true`. */
const Request = z
  .object({
    ...DeadLetterSelection.shape,
    ...BulkPage.shape,
    cursor: z.union([DeadLetterId, z.literal("")]).default(""),
    all: z.boolean().default(false),
  })
  .refine((body) => body.all || body.tenant_id || body.orchestration_id || body.code, {
    message: "give a tenant_id, an orchestration_id or a code, or all: true",
    path: ["all"],
  })
  .meta({ id: "RetryDeadLetters" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/dlq/retry`,
    operationId: operationIdAt(prefix, "retryDeadLetters"),
    tags: ["Operations"],
    summary: "Retry the runs of many dead letters",
    description:
      "The dead letters that match the filter, the newest first, at most `limit` in a request; `next_cursor` has the " +
      "next page. Each has its own result: `queued`, or the code of its error. `dry_run` only counts.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), jsonBody({ schema: Request }), audited("retryDeadLetters")] as const,
    request: { body: { required: true, content: { "application/json": { schema: Request } } } },
    responses: { 200: json(BulkResult, "The result of each"), ...problems(400, 413, 415) },
  });

export const retryDeadLetters = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { limit, cursor, dry_run, all: _all, ...selection } = c.req.valid("json");
    const services = c.get("services");
    const { sql } = services;
    const filter = deadLetterFilterOf(c.get("principal"), selection);
    if (dry_run) {
      return c.json(
        { dry_run, matched: await countDeadLetters(sql, filter), results: [], next_cursor: null },
        200,
      );
    }
    const letters = await listDeadLetters(
      sql,
      filter,
      cursor === "" ? null : parseDeadLetterId(cursor),
      limit,
    );
    const letterOf = new Map(letters.map(({ run_id, seq }) => [run_id, seq]));
    const results = await applyToEach([...letterOf.keys()], async (run) => {
      await retry(services, filter.tenant, run, null, letterOf.get(run));
      return "queued";
    });
    const next_cursor = nextCursor(letters, limit, deadLetterIdOf);
    return c.json({ dry_run, matched: letters.length, results, next_cursor }, 200);
  });
};
