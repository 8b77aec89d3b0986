import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listDeadLetters as list } from "../../../shared/store/runs/dead-letters.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import {
  DeadLetter,
  DeadLetterSelection,
  DeadLetterId,
  deadLetterFilterOf,
  deadLetterOf,
  parseDeadLetterId,
} from "../../operations/dead-letter-view.ts";
import { needs } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor, readCursor } from "../../http/paging.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/dlq`,
    operationId: operationIdAt(prefix, "listDeadLetters"),
    tags: ["Operations"],
    summary: "List dead letters",
    description:
      "Runs that failed for good and were not retried since, the newest first. The header `Link` has the next page. " +
      "A tenant's key gets only its tenant's dead letters.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: PageQuery.extend(DeadLetterSelection.shape) },
    responses: { 200: json(z.array(DeadLetter), "The dead letters"), ...problems(400) },
  });

export const listDeadLetters = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit, ...selection } = c.req.valid("query");
    const rows = await list(
      c.get("services").sql,
      deadLetterFilterOf(c.get("principal"), selection),
      readCursor(DeadLetterId.transform(parseDeadLetterId), cursor),
      limit,
    );
    const letters = rows.map(deadLetterOf);
    const next = nextCursor(letters, limit, (letter) => letter.id);
    linkNext(c, next);
    return c.json(letters, 200);
  });
};
