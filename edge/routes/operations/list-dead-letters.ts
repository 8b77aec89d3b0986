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
import { PageQuery, badCursor, linkNext } from "../../http/paging.ts";

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
      readCursor(cursor),
      limit,
    );
    const letters = rows.map(deadLetterOf);
    linkNext(
      c,
      limit,
      letters.map((letter) => letter.id),
    );
    return c.json(letters, 200);
  });
};

/** The dead letter after which a page begins; null: the first page. @throws AppError `bad_cursor` */
function readCursor(cursor: string) {
  if (cursor === "") return null;
  const id = DeadLetterId.safeParse(cursor);
  if (!id.success) throw badCursor("the one in the Link header");
  return parseDeadLetterId(id.data);
}
