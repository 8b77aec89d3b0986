import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { isoTime } from "../../../shared/text/iso-time.ts";
import { findRun } from "../../runs/run-view.ts";
import { expiryOf, makeStreamToken, StreamToken } from "../../streaming/token.ts";

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs/{run_id}/stream-token",
  operationId: "createStreamToken",
  tags: ["Streams"],
  summary: "Create a token to watch this run from a browser",
  description:
    "The token allows to read this run's stream and nothing else, also among others in `/events/stream?runs=`. It " +
    "expires one hour after the run has ended, or one hour after its own creation when that is later, and in any case " +
    "7 days after its creation: that is what `expires_at` says while the run has not ended. A token is no longer valid " +
    "when the API key that created it is revoked or has expired, and its open streams end within 30 seconds.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ run_id: z.string() }) },
  responses: { 201: json(StreamToken, "The token"), ...problems(404) },
});

export function createStreamToken(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql, config } = c.get("services");
    const principal = c.get("principal");
    const row = await findRun(sql, principal, c.req.valid("param").run_id);
    const claim = { opens: row.run_id, madeAtMs: Date.now(), keyId: principal.key_id };
    const token = await makeStreamToken(config.STREAM_TOKEN_SECRET, claim);
    const stream_url = `/api/v2/orchestrations/runs/${row.run_id}/stream?token=${token}`;
    return c.json({ token, stream_url, expires_at: isoTime(expiryOf(claim.madeAtMs, row.ended_at_ms)) }, 201);
  });
}
