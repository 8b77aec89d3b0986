import { createRoute } from "@hono/zod-openapi";
import { findSession, SESSION_PATH, SessionParams } from "../../chat/session-view.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { isoTime } from "../../../shared/text/iso-time.ts";
import { expiryOf, makeStreamToken, StreamToken } from "../../streaming/token.ts";

const route = createRoute({
  method: "post",
  path: `${SESSION_PATH}/stream-token`,
  operationId: "createChatStreamToken",
  tags: ["Chat"],
  summary: "Create a token to watch this session from a browser",
  description:
    "The token allows to read the stream of this session, all its turns, and nothing else. It expires 7 days after its " +
    "creation, and with the API key that created it.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: SessionParams },
  responses: { 201: json(StreamToken, "The token"), ...problems(404) },
});

export function createSessionToken(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql, config } = c.get("services");
    const principal = c.get("principal");
    const { session_id } = await findSession(sql, principal, c.req.valid("param").session_id);
    const claim = { opens: session_id, madeAtMs: Date.now(), keyId: principal.key_id };
    const token = await makeStreamToken(config.STREAM_TOKEN_SECRET, claim);
    const stream_url = `/api/v2/chat/${session_id}/stream?token=${token}`;
    return c.json({ token, stream_url, expires_at: isoTime(expiryOf(claim.madeAtMs, null)) }, 201);
  });
}
