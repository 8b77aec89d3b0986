import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { SessionId } from "../../../shared/contracts/ids.ts";
import { AppError } from "../../../shared/errors.ts";
import { DELTA_RULE } from "../../../shared/events/delta-text.ts";
import { parseEventId } from "../../../shared/events/lines.ts";
import { readTurns } from "../../chat/read-turns.ts";
import { findSession, SESSION_PATH, SessionParams } from "../../chat/session-view.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { reversed } from "../../http/range.ts";
import { queryInteger } from "../../http/query-integer.ts";
import { eventsOf, ListedEvents } from "../../runs/listed-events.ts";
import type { ListedEvent } from "../../runs/listed-events.ts";

const Events = z.object({ session_id: SessionId, ...ListedEvents.shape }).meta({ id: "ChatEvents" });

const route = createRoute({
  method: "get",
  path: `${SESSION_PATH}/events`,
  operationId: "listChatEvents",
  tags: ["Chat"],
  summary: "List the stored events of a session",
  description:
    "Of all its turns, in order: from the event `start` to the event `end`, both included (`-`: the first, `+`: the last), or " +
    "after `cursor`. A page of large events has fewer than `limit`: go on while there is a `next_cursor`. " +
    DELTA_RULE,
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: SessionParams,
    query: z.object({
      start: z.string().default("-"),
      end: z.string().default("+"),
      cursor: z.string().optional(),
      limit: queryInteger(1, 1000).default(200),
    }),
  },
  responses: { 200: json(Events, "The events"), ...problems(400, 404) },
});

/** A place among the events of a session. */
type Place = { base: string; seq: number };
const FIRST: Place = { base: "", seq: 0 };

export function listSessionEvents(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { start, end, cursor, limit } = c.req.valid("query");
    const { session_id } = await findSession(
      services.sql,
      c.get("principal"),
      c.req.valid("param").session_id,
    );
    const from = start === "-" ? FIRST : placeOf(start);
    const last = end === "+" ? null : placeOf(end);
    if (last !== null && isBefore(last, from)) throw reversed("start", "end");
    const after =
      cursor === undefined ? { base: from.base, seq: Math.max(0, from.seq - 1) } : placeOf(cursor);
    const eventsAfter = async (place: Place, entries: number): Promise<ListedEvent[]> => {
      const page = await readTurns(services, session_id, place, entries);
      return page.flatMap((entry) => eventsOf(entry.run_id, entry)).filter(isWithin(place, last));
    };
    // An entry has at least one event, so `limit` entries are enough.
    const events = (await eventsAfter(after, limit)).slice(0, limit);
    const reached = events.at(-1)?.id;
    const more = reached === undefined ? [] : await eventsAfter(placeOf(reached), 1);
    const next_cursor = reached !== undefined && more.length > 0 ? reached : null;
    return c.json({ session_id, count: events.length, events, next_cursor }, 200);
  });
}

function isWithin(after: Place, last: Place | null) {
  return ({ id }: ListedEvent): boolean => {
    const place = placeOf(id);
    return isBefore(after, place) && (last === null || !isBefore(last, place));
  };
}

function isBefore(a: Place, b: Place): boolean {
  return a.base < b.base || (a.base === b.base && a.seq < b.seq);
}

/** The place of an event by its id. @throws AppError `bad_event_id` */
function placeOf(id: string): Place {
  const place = parseEventId(id);
  if (place === null) {
    throw new AppError("bad_event_id", "start, end and cursor must be ids of events of this session.");
  }
  return place === "start" ? FIRST : place;
}
