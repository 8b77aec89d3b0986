import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { isoTime } from "../../http/time.ts";
import { findRun } from "../../runs/run-view.ts";
import { expiryOf, makeStreamToken } from "../../streaming/token.ts";

const StreamToken = z
  .object({ token: z.string(), stream_url: z.string(), expires_at: z.iso.datetime().nullable() })
  .meta({ id: "StreamToken" });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs/{run_id}/stream-token",
  summary: "Create a token to watch this run from a browser",
  description:
    "The token allows to read this run's stream and nothing else. It expires one hour after the run has ended, or one " +
    "hour after its own creation when that is later. `expires_at` is null while the run has not ended.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ run_id: z.string() }) },
  responses: { 201: json(StreamToken, "The token"), ...problems(404) },
});

export function createStreamToken(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql, config } = c.get("services");
    const row = await findRun(sql, c.get("principal"), c.req.valid("param").run_id);
    const nowMs = Date.now();
    const token = await makeStreamToken(config.STREAM_TOKEN_SECRET, row.run_id, nowMs);
    const stream_url = `/api/v2/orchestrations/runs/${row.run_id}/stream?token=${token}`;
    return c.json({ token, stream_url, expires_at: isoTime(expiryOf(nowMs, row.ended_at_ms)) }, 201);
  });
}
