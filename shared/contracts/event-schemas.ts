import { z } from "zod";
import { eventSchemas, largeTexts } from "./event.ts";
import { Reference } from "./journal-entry.ts";

type Schema = Record<string, unknown>;

const refTo = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/** Writes every part in its place. A large text may be a reference. */
const OPTIONS = {
  unrepresentable: "any",
  metadata: z.registry<{ id?: string }>(),
  override({
    zodSchema,
    jsonSchema,
  }: {
    zodSchema: z.core.$ZodType;
    jsonSchema: z.core.JSONSchema.BaseSchema;
  }) {
    if (!largeTexts.has(zodSchema)) return;
    delete jsonSchema.type;
    jsonSchema.anyOf = [{ type: "string" }, refTo("Reference")];
  },
} as const;

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
 * The JSON schemas of events as clients get them, for the API's document: a component for each type, `Event`, which is one of
 * them, and `EventStream`. New types may come: clients ignore those that they do not know.
 */
export function eventComponents(): { [name: string]: Schema } {
  const types = Object.entries(eventSchemas);
  const each = types.map(([type, fields]): [string, Schema] => [
    nameOf(type),
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
      oneOf: each.map(([name]) => refTo(name)),
      discriminator: {
        propertyName: "type",
        mapping: Object.fromEntries(types.map(([type]) => [type, refTo(nameOf(type)).$ref])),
      },
    },
    EventStream: {
      type: "string",
      description: "Server-sent events: `id` is the event's id, and `data` is an `Event` in one line of JSON",
      contentMediaType: "text/event-stream",
      contentSchema: refTo("Event"),
    },
  };
}

function nameOf(type: string): string {
  return `${type.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase())}Event`;
}

function schemaOf(schema: z.ZodObject): Schema {
  const { $schema: _, additionalProperties: __, ...json } = z.toJSONSchema(schema, OPTIONS);
  return json;
}
