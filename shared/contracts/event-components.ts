import { z } from "zod";
import { eventSchemas, largeTexts } from "./event.ts";
import { Reference } from "./journal-entry.ts";
import { componentOf, inPlace, refTo, unionOf } from "./json-schemas.ts";
import type { JsonSchema } from "./json-schemas.ts";

/** A large text may be a reference. */
const OPTIONS = inPlace(({ zodSchema, jsonSchema }) => {
  if (!largeTexts.has(zodSchema)) return;
  delete jsonSchema.type;
  jsonSchema.anyOf = [{ type: "string" }, refTo("Reference")];
});

/** What every event has beside its own fields. */
const Envelope = z.object({
  run_id: z.string(),
  seq: z.number().int().positive().meta({ description: "1, 2, 3 … without a gap within a run" }),
  ts: z.iso.datetime(),
  correlation_id: z.string(),
});

/** What an event of a step has besides, if the step is in a branch or a loop. */
const InTrack = z.object({
  path: z
    .string()
    .meta({ description: "Where the step is, if it is in a branch or a loop: `fanout[1].draft`" })
    .exactOptional(),
});

/**
 * The JSON schemas of events as clients get them, for the API's document: a component for each type, and `Event`, which is one of
 * them. New types may come: clients ignore those that they do not know.
 */
export function eventComponents(): { [name: string]: JsonSchema } {
  const each = Object.entries(eventSchemas).map(([type, fields]): [string, JsonSchema] => [
    componentOf(type, "Event"),
    schemaOf(
      Envelope.extend({ type: z.literal(type) })
        .extend(fields.shape)
        .extend("orch_step_id" in fields.shape ? InTrack.shape : {}),
    ),
  ]);
  return {
    Reference: schemaOf(Reference),
    ...Object.fromEntries(each),
    Event: {
      description: "New types may come: ignore those that you do not know",
      ...unionOf(Object.keys(eventSchemas), "Event", "type"),
    },
  };
}

function schemaOf(schema: z.ZodObject): JsonSchema {
  const { $schema: _, additionalProperties: __, ...json } = z.toJSONSchema(schema, OPTIONS);
  return json;
}
