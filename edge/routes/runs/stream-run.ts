import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { readPosition } from "../../../shared/events/lines.ts";
import type { RunRow } from "../../../shared/store/runs/read-runs.ts";
import { problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { isDatabaseUnreachable } from "../../../shared/store/unreachable.ts";
import { reconnectLater } from "../../streaming/sse.ts";
import { openEvents } from "../../streaming/open-stream.ts";
import { authorizedRun } from "../../streaming/access.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/stream",
  summary: "Watch a run",
  description:
    "Server-sent events: all that follow `Last-Event-ID`, up to `done`. A run that has ended and has no event after " +
    "that id answers 204. Authorise with an API key in the header, or with `?token=` and a stream token. `?token=` " +
    "also takes an API key, but URLs are written to logs.",
  security: [{ key: ["runs:read"] }, { token: [] }],
  request: {
    params: z.object({ run_id: z.string() }),
    query: z.object({ token: z.string().optional(), last_event_id: z.string().optional() }),
    headers: z.object({ "last-event-id": z.string().optional() }),
  },
  responses: {
    200: { description: "The stream of events", content: { "text/event-stream": { schema: z.string() } } },
    204: { description: "The run has ended, and no event follows this id" },
    ...problems(400, 404),
  },
});

export function streamRun(api: Api): void {
  api.openapi(route, async (c) => {
    try {
      const row = await authorizedRun(c, c.req.valid("param").run_id, c.req.valid("query").token);
      const id = c.req.valid("header")["last-event-id"] ?? c.req.valid("query").last_event_id;
      return await streamFrom(c, row, id);
    } catch (error) {
      // An EventSource gives up for good on an error status, so an unreachable Postgres is not answered with one.
      if (isDatabaseUnreachable(error)) return reconnectLater();
      throw error;
    }
  });
}

async function streamFrom(
  c: Context<ApiEnv>,
  row: RunRow,
  lastEventId: string | undefined,
): Promise<Response> {
  const position = readPosition(row.run_id, lastEventId);
  if (position === null)
    throw new AppError(
      "bad_event_id",
      "Last-Event-ID is not the id of an event of this run. Send the id of its last event that you have, or none.",
    );
  if (TERMINAL.has(row.status) && position >= row.event_seq) return new Response(null, { status: 204 });
  return openEvents(c, row, Math.min(position, row.event_seq));
}
