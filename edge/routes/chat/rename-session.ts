import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { plainName } from "../../../shared/contracts/ids.ts";
import { renameSession as rename } from "../../../shared/store/chat/sessions.ts";
import {
  findSession,
  noSession,
  SESSION_PATH,
  SessionParams,
  SessionView,
  sessionIdOf,
  sessionViewOf,
} from "../../chat/session-view.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";

const Changes = z.looseObject({ title: plainName(200) }).meta({ id: "ChatSessionChanges" });

const route = createRoute({
  method: "patch",
  path: SESSION_PATH,
  operationId: "renameChatSession",
  tags: ["Chat"],
  summary: "Rename a session",
  description: "A new session has the first 60 characters of its first message as its title.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: Changes })] as const,
  request: {
    params: SessionParams,
    body: { required: true, content: { "application/json": { schema: Changes } } },
  },
  responses: { 200: json(SessionView, "The session"), ...problems(400, 404, 413, 415) },
});

export function renameSession(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const principal = c.get("principal");
    const id = sessionIdOf(c.req.valid("param").session_id);
    const { title } = c.req.valid("json");
    if (!(await rename(sql, principal.tenant, id, title))) throw noSession();
    return c.json(sessionViewOf(await findSession(sql, principal, id)), 200);
  });
}
