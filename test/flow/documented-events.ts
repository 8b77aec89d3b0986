/** Compares the events that flow tests commit with the API's document. */
import { z } from "zod";
import { eventComponents } from "../../shared/contracts/event-components.ts";
import { componentOf } from "../../shared/contracts/json-schemas.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { eventJson, linesOf } from "../../shared/events/lines.ts";
import type { Sql } from "../../shared/store/sql.ts";

const components = eventComponents();
const defs = JSON.stringify({ ...components, Json: {} }).replaceAll("#/components/schemas/", "#/$defs/");
const schemas = new Map<string, z.ZodType>();

/**
 * The document's schema of the events of a type. `Event` is one of all types, and zod compares an event with each of them: with
 * `Event` this check took most of the processor time of the largest flow tests.
 */
function documentedEvent(type: string): z.ZodType {
  const name = componentOf(type, "Event");
  if (!(name in components)) return z.never();
  const schema =
    schemas.get(name) ?? z.fromJSONSchema(JSON.parse(`{"$ref":"#/$defs/${name}","$defs":${defs}}`));
  schemas.set(name, schema);
  return schema;
}

const Typed = z.looseObject({ type: z.string() });

/** @throws Error for the first event that the document does not describe */
export async function expectDocumentedEvents(sql: Sql): Promise<void> {
  const entries = await sql<{ run_id: string; events: string }[]>`select run_id, events from journal`;
  for (const { run_id, events } of entries) {
    for (const line of linesOf(events)) {
      const json = eventJson(RunId.parse(run_id), 1, line);
      const event = Typed.parse(JSON.parse(json));
      const parsed = documentedEvent(event.type).safeParse(event);
      if (parsed.error) {
        throw new Error(
          `an event that the document does not have: ${json.slice(0, 2_000)}: ${parsed.error.message}`,
        );
      }
    }
  }
}
