import { z } from "zod";
import { AgentDocument } from "./agent.ts";
import { OrchestrationDocument } from "./orchestration.ts";
import { stepSchemas } from "./step.ts";
import { toolSchemas } from "./tool.ts";

type Schema = Record<string, unknown>;

/** Writes every part of a schema in its place, without references to components. */
const OPTIONS = { io: "input", unrepresentable: "any", metadata: z.registry<{ id?: string }>() } as const;

const refTo = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/**
 * The JSON schemas of definitions as a request may hold them, for the API's document: each type of step and tool is a
 * component of its own. A definition's id stands in the path, so its body may leave it out. Null means the default.
 */
export function definitionSchemas(): { [name: string]: Schema } {
  const steps = byType(stepSchemas, "Step");
  const tools = byType(toolSchemas, "Tool");
  const orchestration = schemaOf(OrchestrationDocument, "id");
  const properties = z.record(z.string(), z.unknown()).parse(orchestration["properties"]);
  return {
    ...steps.each,
    ...tools.each,
    Step: steps.union("type"),
    Tool: tools.union("tool_type"),
    Agent: schemaOf(AgentDocument, "id"),
    Orchestration: {
      ...orchestration,
      properties: { ...properties, steps: { type: "array", minItems: 1, items: refTo("Step") } },
    },
  };
}

/** A component for each type, and their union. The field `propertyName` of `union` has the name of the type. */
function byType(schemas: { [type: string]: z.ZodType }, ending: string) {
  const nameOf = (type: string) =>
    type.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase()) + ending;
  const types = Object.keys(schemas);
  const idField = ending === "Tool" ? "name" : null;
  return {
    each: Object.fromEntries(types.map((type) => [nameOf(type), schemaOf(schemas[type], idField)])),
    union: (propertyName: string): Schema => ({
      oneOf: types.map((type) => refTo(nameOf(type))),
      discriminator: {
        propertyName,
        mapping: Object.fromEntries(types.map((type) => [type, refTo(nameOf(type)).$ref])),
      },
    }),
  };
}

function schemaOf(schema: z.ZodType | undefined, idField: string | null): Schema {
  if (schema === undefined) return {};
  const { $schema: _, required, ...json } = z.toJSONSchema(schema, OPTIONS);
  return { ...json, required: (required ?? []).filter((name) => name !== idField) };
}
