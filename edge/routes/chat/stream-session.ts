import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import type { SessionId } from "../../../shared/contracts/ids.ts";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { DELTA_RULE } from "../../../shared/events/delta-text.ts";
import { parseEventId, readPosition } from "../../../shared/events/lines.ts";
import type { RunToWatch } from "../../../shared/store/runs/read-runs.ts";
import { readTurn } from "../../../shared/store/chat/turns.ts";
import { noTurn, SESSION_PATH, SessionParams } from "../../chat/session-view.ts";
import { problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import type { Services } from "../../services.ts";
import {
  authorizedSession,
  eventStream,
  lastEventIdOf,
  openEvents,
  StreamHeaders,
  StreamQuery,
  streamOrLater,
} from "../../streaming/open-stream.ts";

const route = createRoute({
  method: "get",
  path: `${SESSION_PATH}/stream`,
  operationId: "streamChat",
  tags: ["Chat"],
  summary: "Watch a turn of a session",
  description:
    "Server-sent events of the newest turn, or of `turn_id`, up to `done`. Ids of events grow within a session: with a " +
    "`Last-Event-ID` come the events that follow it, in the same turn, or after its end those of the turn after it; without " +
    `one, 204. ${DELTA_RULE} Authorise as for the stream of a run, or with a stream token of the session.`,
  security: [{ key: ["runs:read"] }, { token: [] }],
  request: {
    params: SessionParams,
    query: StreamQuery.extend({ turn_id: z.string().optional() }),
    headers: StreamHeaders,
  },
  responses: {
    200: eventStream,
    204: { description: "The turn has ended, and no event follows this id" },
    ...problems(400, 404, 429),
  },
});

export function streamSession(api: Api): void {
  api.openapi(route, (c) =>
    streamOrLater(async () => {
      const { turn_id, ...query } = c.req.valid("query");
      const { session_id } = c.req.valid("param");
      const { session, grant } = await authorizedSession(c, session_id, query.token);
      const lastId = lastEventIdOf(c.req.valid("header"), query);
      const { sql } = c.get("services");
      const place = turn_id
        ? await placeIn(sql, session, turn_id, lastId)
        : await placeOf(sql, session, lastId);
      if (place === null) return new Response(null, { status: 204 });
      return open(c, place, grant);
    }),
  );
}

function open(
  c: Context<ApiEnv>,
  { row, after }: Place,
  grant: Parameters<typeof openEvents>[1]["grant"],
): Promise<Response> {
  return openEvents(c, { row, grant }, Math.min(after, row.event_seq));
}

/** A turn, and the number of its last event that the viewer has. */
type Place = { row: RunToWatch; after: number };
type Sql = Services["sql"];

/** The viewer's place in the turn that it names; null: no event follows. @throws AppError `not_found`, `bad_event_id` */
async function placeIn(
  sql: Sql,
  session: SessionId,
  turn: string,
  lastId: string | undefined,
): Promise<Place | null> {
  const run = RunId.safeParse(turn);
  const row = run.success ? await readTurn(sql, session, { is: "run", run: run.data }) : null;
  if (!row) throw noTurn();
  const after = readPosition(row.run_id, lastId);
  if (after === null) throw badId();
  return isOver({ row, after }) ? null : { row, after };
}

/**
 * The viewer's place in a session: in the turn of its last event, or at the beginning of the turn after that. Without a last event it is
 * the beginning of the newest turn. Null: no event follows. @throws AppError `not_found`, `bad_event_id`
 */
async function placeOf(sql: Sql, session: SessionId, lastId: string | undefined): Promise<Place | null> {
  const id = parseEventId(lastId);
  if (id === null) throw badId();
  if (id === "start") {
    const row = await readTurn(sql, session, { is: "newest" });
    if (!row) throw noTurn();
    return { row, after: 0 };
  }
  const row = await readTurn(sql, session, { is: "base", base: id.base });
  if (!row) throw badId();
  const place = { row, after: id.seq };
  if (!isOver(place)) return place;
  const following = await readTurn(sql, session, { is: "after", base: id.base });
  return following && { row: following, after: 0 };
}

function isOver({ row, after }: Place): boolean {
  return TERMINAL.has(row.status) && after >= row.event_seq;
}

function badId(): AppError {
  const detail =
    "Last-Event-ID is not the id of an event of this session. Send the id of its last event that you have, or none.";
  return new AppError("bad_event_id", detail);
}
