import { z } from "zod";
import type { RunId } from "../../shared/contracts/ids.ts";
import { eventId, eventJson, linesOf } from "../../shared/events/lines.ts";
import type { EntryLines } from "../../shared/events/lines.ts";

/** An event as clients see it. */
export const Event = z
  .looseObject({ type: z.string(), run_id: z.string(), seq: z.number().int(), ts: z.string() })
  .meta({ id: "Event" });

const ListedEvent = z.object({ id: z.string(), event: Event });
export type ListedEvent = z.infer<typeof ListedEvent>;

/** A page of stored events. */
export const ListedEvents = z.object({
  count: z.number().int(),
  events: z.array(ListedEvent),
  next_cursor: z.string().nullable(),
});

/** The events of an entry of a run's journal. */
export function eventsOf(run: RunId, entry: EntryLines): ListedEvent[] {
  const first = entry.seq - entry.events_n + 1;
  return linesOf(entry.events).map((line, i) => ({
    id: eventId(run, first + i),
    event: Event.parse(JSON.parse(eventJson(run, first + i, line))),
  }));
}
