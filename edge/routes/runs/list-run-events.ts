import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { AppError } from "../../../shared/errors.ts";
import { DELTA_RULE } from "../../../shared/events/delta-text.ts";
import { readPosition } from "../../../shared/events/lines.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { reversed } from "../../http/range.ts";
import { queryInteger } from "../../http/query-integer.ts";
import { eventsOf, ListedEvents } from "../../runs/listed-events.ts";
import { readRunEntries } from "../../runs/run-journal.ts";
import type { JournalStores } from "../../runs/run-journal.ts";
import { findRun } from "../../runs/run-view.ts";

const Events = z.object({ run_id: z.string(), ...ListedEvents.shape }).meta({ id: "Events" });

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/events",
  operationId: "listRunEvents",
  tags: ["Runs"],
  summary: "List the stored events of a run",
  description:
    "From the event `start` to the event `end`, both included (`-`: the first, `+`: the last), or after `cursor`. A page of " +
    "large events has fewer than `limit`: go on while there is a `next_cursor`. " +
    DELTA_RULE,
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: z.object({ run_id: z.string() }),
    query: z.object({
      start: z.string().default("-"),
      end: z.string().default("+"),
      cursor: z.string().optional(),
      limit: queryInteger(1, 1000).default(200),
    }),
  },
  responses: { 200: json(Events, "The events"), ...problems(400, 404) },
});

export function listRunEvents(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { start, end, cursor, limit } = c.req.valid("query");
    const row = await findRun(services.sql, c.get("principal"), c.req.valid("param").run_id);
    const run = row.run_id;
    const [from, to] = [start === "-" ? 0 : numberOf(run, start), end === "+" ? null : numberOf(run, end)];
    if (to !== null && from > to) throw reversed("start", "end");
    const after = cursor === undefined ? from - 1 : numberOf(run, cursor);
    const last = Math.min(to ?? row.event_seq, row.event_seq);
    const events = await readEvents(services, run, Math.max(0, after), last, limit);
    const lastEvent = events.at(-1);
    const more = lastEvent !== undefined && lastEvent.event.seq < last;
    return c.json(
      { run_id: run, count: events.length, events, next_cursor: more ? lastEvent.id : null },
      200,
    );
  });
}

/** The number of an event by its id. @throws AppError `bad_event_id` */
function numberOf(run: RunId, id: string): number {
  const position = readPosition(run, id);
  if (position === null)
    throw new AppError("bad_event_id", "start, end and cursor must be ids of events of this run.");
  return position;
}

/**
 * Up to `limit` events, with the numbers from `after` + 1 to `last`; fewer when they are large. An entry has at least one event, so
 * `limit` entries are enough.
 */
async function readEvents(stores: JournalStores, run: RunId, after: number, last: number, limit: number) {
  const entries = await readRunEntries(stores, run, after, limit);
  return entries
    .flatMap((entry) => eventsOf(run, entry))
    .filter(({ event }) => event.seq > after && event.seq <= last)
    .slice(0, limit);
}
