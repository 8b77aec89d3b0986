import { z } from "zod";
import { AgentDocument } from "./agent.ts";
import { fieldClasses } from "./field-classes.ts";
import { nullMeanings } from "./fields.ts";
import { McpServerDocument } from "./mcp-server.ts";
import { OrchestrationDocument } from "./orchestration.ts";
import { stepSchemas } from "./step.ts";
import { toolSchemas } from "./tool.ts";
import { componentOf, inPlace, refTo, unionOf } from "../json-schemas.ts";
import type { JsonSchema } from "../json-schemas.ts";
import type { FieldClass } from "./field-classes.ts";

/** A schema also says what null means in each place. */
const OPTIONS = {
  ...inPlace(({ zodSchema, jsonSchema }) => {
    const meaning = nullMeanings.get(zodSchema)?.nullMeans;
    if (meaning === "end") jsonSchema.description = "With null or an empty text the run ends there";
    // Of "any value or null" only "any value" says something.
    if (jsonSchema.anyOf?.some(isEmpty)) delete jsonSchema.anyOf;
    if (meaning === "absent") jsonSchema.description = "Null and an empty text mean that it is not set";
    if (meaning !== "default" || !z.safeParse(zodSchema, null).success) return;
    const { default: value, ...rest } = jsonSchema;
    for (const key of Object.keys(rest)) delete jsonSchema[key];
    Object.assign(jsonSchema, { anyOf: [rest, { type: "null" }], description: "Null means the default" });
    if (value !== undefined) jsonSchema.default = value;
  }),
  io: "input",
} as const;

function isEmpty(schema: object): boolean {
  return Object.keys(schema).length === 0;
}

/**
 * The JSON schemas of definitions as a request may hold them, for the API's document: each type of step and tool is a
 * component of its own. A definition's id stands in the path, so its body may leave it out. Null means the default.
 */
export function definitionComponents(): { [name: string]: JsonSchema } {
  const steps = byType(stepSchemas, "Step");
  const tools = byType(toolSchemas, "Tool");
  const orchestration = schemaOf(OrchestrationDocument, "id", fieldClasses.orchestration);
  const properties = z.record(z.string(), z.unknown()).parse(orchestration["properties"]);
  return {
    ...steps,
    ...tools,
    Step: unionOf(Object.keys(stepSchemas), "Step", "type"),
    Tool: unionOf(Object.keys(toolSchemas), "Tool", "tool_type"),
    Agent: schemaOf(AgentDocument, "id", fieldClasses.agent),
    McpServer: schemaOf(McpServerDocument, "name", fieldClasses.mcpServer),
    Orchestration: {
      ...orchestration,
      properties: { ...properties, steps: { type: "array", minItems: 1, items: refTo("Step") } },
    },
  };
}

/** A component for each type. */
function byType(schemas: { [type: string]: z.ZodType }, ending: string): { [name: string]: JsonSchema } {
  const [idField, classes] =
    ending === "Tool" ? (["name", fieldClasses.tool] as const) : ([null, fieldClasses.step] as const);
  return Object.fromEntries(
    Object.entries(schemas).map(([type, schema]) => [
      componentOf(type, ending),
      schemaOf(schema, idField, classes),
    ]),
  );
}

function schemaOf(
  schema: z.ZodType,
  idField: string | null,
  classes: { readonly [field: string]: FieldClass },
): JsonSchema {
  const { $schema: _, required, properties = {}, ...json } = z.toJSONSchema(schema, OPTIONS);
  const later = Object.keys(classes).filter((name) => typeof classes[name] === "object");
  return {
    ...json,
    ...(later.length > 0 && {
      description: `Not built yet, and refused with not_yet unless empty or without effect: ${later.join(", ")}`,
    }),
    properties: Object.fromEntries(
      Object.entries(properties).map(([name, field]) => [
        name,
        classes[name] === "kept" && typeof field === "object" ? { ...field, description: KEPT } : field,
      ]),
    ),
    required: (required ?? []).filter((name) => name !== idField),
  };
}

const KEPT = "For editors and people: kept, and returned as it was saved. No run reads it";
