import { createRoute } from "@hono/zod-openapi";
import { deleteSession as remove } from "../../../shared/store/chat/sessions.ts";
import { readOpenTurns } from "../../../shared/store/chat/turn-order.ts";
import { noSession, SESSION_PATH, SessionParams, sessionIdOf } from "../../chat/session-view.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { cancel } from "../../runs/cancel.ts";

/** The most open turns that a delete cancels. Later ones run, and add nothing to the deleted history. */
const MAX_CANCELLED = 1_000;

const route = createRoute({
  method: "delete",
  path: SESSION_PATH,
  operationId: "deleteChatSession",
  tags: ["Chat"],
  summary: "Delete a session",
  description:
    "Deletes the history and cancels the turns that have not ended. The runs of the turns stay, with their events, as all runs " +
    "do: their routes still answer.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: { params: SessionParams },
  responses: { 204: { description: "Deleted" }, ...problems(404) },
});

export function deleteSession(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { tenant } = c.get("principal");
    const id = sessionIdOf(c.req.valid("param").session_id);
    if (!(await remove(services.sql, tenant, id))) throw noSession();
    const open = await readOpenTurns(services.sql, id, MAX_CANCELLED);
    // The newest turn first: then no waiting turn begins when the turn before it ends.
    for (const turn of open.toReversed()) await cancel(services, tenant, turn.run_id);
    return c.body(null, 204);
  });
}
