import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { DELTA_RULE } from "../../../shared/events/delta-text.ts";
import { readPosition } from "../../../shared/events/lines.ts";
import { problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import {
  authorizedRuns,
  openEvents,
  lastEventIdOf,
  eventStream,
  StreamHeaders,
  StreamQuery,
  streamOrLater,
} from "../../streaming/open-stream.ts";
import type { WatchedRun } from "../../streaming/open-stream.ts";
import { noRun } from "../../runs/run-view.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/stream",
  operationId: "streamRun",
  tags: ["Streams"],
  summary: "Watch a run",
  description:
    `Server-sent events: all that follow \`Last-Event-ID\`, up to \`done\`. ${DELTA_RULE} ` +
    "A run that has ended and has no event after " +
    "that id answers 204. Authorise with an API key in the header, or with `?token=` and a stream token. `?token=` " +
    "also takes an API key, but URLs are written to logs. Over HTTP/1.1 a browser opens six connections to a host: a " +
    "page that watches more runs uses `/events/stream?runs=`. Beyond a tenant's or key's share of the seats: 429.",
  security: [{ key: ["runs:read"] }, { token: [] }],
  request: {
    params: z.object({ run_id: z.string() }),
    query: StreamQuery,
    headers: StreamHeaders,
  },
  responses: {
    200: eventStream,
    204: { description: "The run has ended, and no event follows this id" },
    ...problems(400, 404, 429),
  },
});

export function streamRun(api: Api): void {
  api.openapi(route, (c) =>
    streamOrLater(async () => {
      const query = c.req.valid("query");
      const run = RunId.safeParse(c.req.valid("param").run_id);
      const [watched] = await authorizedRuns(c, run.success ? [run.data] : [], query.token);
      if (!watched) throw noRun();
      return streamFrom(c, watched, lastEventIdOf(c.req.valid("header"), query));
    }),
  );
}

async function streamFrom(
  c: Context<ApiEnv>,
  watched: WatchedRun,
  lastEventId: string | undefined,
): Promise<Response> {
  const { row } = watched;
  const position = readPosition(row.run_id, lastEventId);
  if (position === null)
    throw new AppError(
      "bad_event_id",
      "Last-Event-ID is not the id of an event of this run. Send the id of its last event that you have, or none.",
    );
  if (TERMINAL.has(row.status) && position >= row.event_seq) return new Response(null, { status: 204 });
  return openEvents(c, watched, Math.min(position, row.event_seq));
}
