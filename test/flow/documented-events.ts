/** Compares the events that flow tests commit with the API's document. */
import { z } from "zod";
import { eventComponents } from "../../shared/contracts/event-components.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { eventJson, linesOf } from "../../shared/events/lines.ts";
import type { Sql } from "../../shared/store/sql.ts";

const local = JSON.stringify({ $ref: "#/$defs/Event", $defs: { ...eventComponents(), Json: {} } });
const Event = z.fromJSONSchema(JSON.parse(local.replaceAll("#/components/schemas/", "#/$defs/")));

/** @throws Error for the first event that the document does not describe */
export async function expectDocumentedEvents(sql: Sql): Promise<void> {
  const entries = await sql<{ run_id: string; events: string }[]>`select run_id, events from journal`;
  for (const { run_id, events } of entries) {
    for (const line of linesOf(events)) {
      const json = eventJson(RunId.parse(run_id), 1, line);
      const parsed = Event.safeParse(JSON.parse(json));
      if (parsed.error) {
        throw new Error(
          `an event that the document does not have: ${json.slice(0, 2_000)}: ${parsed.error.message}`,
        );
      }
    }
  }
}
