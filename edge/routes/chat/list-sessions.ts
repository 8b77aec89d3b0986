import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { DefinitionId, SessionId, TenantId } from "../../../shared/contracts/ids.ts";
import { listSessions as list } from "../../../shared/store/chat/sessions.ts";
import type { SessionPosition } from "../../../shared/store/chat/sessions.ts";
import { SessionView, sessionViewOf } from "../../chat/session-view.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { PageQuery, badCursor, nextCursor } from "../../http/paging.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/chat",
  operationId: "listChatSessions",
  tags: ["Chat"],
  summary: "List chat sessions",
  description:
    "The session with the newest turn first. `next_cursor` is the cursor of the next page. A session that gets a turn between two pages " +
    "moves to the front: a client that needs all of them reads the first page again.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    query: PageQuery.extend({ agent: DefinitionId.optional(), tenant_id: TenantId.optional() }),
  },
  responses: {
    200: json(
      z.object({ data: z.array(SessionView), next_cursor: z.string().nullable() }),
      "A page of sessions",
    ),
    ...problems(400),
  },
});

export function listSessions(api: Api): void {
  api.openapi(route, async (c) => {
    const { cursor, limit, agent = null, tenant_id } = c.req.valid("query");
    const tenant = tenantFilterOf(c.get("principal"), tenant_id);
    const rows = await list(c.get("services").sql, { tenant, agent }, readCursor(cursor), limit);
    const next_cursor = nextCursor(
      rows,
      limit,
      ({ newest_base, session_id }) => `${newest_base}-${session_id}`,
    );
    return c.json({ data: rows.map(sessionViewOf), next_cursor }, 200);
  });
}

/** @throws AppError `bad_cursor` */
function readCursor(cursor: string): SessionPosition | null {
  if (cursor === "") return null;
  const [, newest_base, id] = /^([0-9]{13})-(.+)$/.exec(cursor) ?? [];
  const session = SessionId.safeParse(id);
  if (newest_base === undefined || !session.success) throw badCursor();
  return { newest_base, session_id: session.data };
}
