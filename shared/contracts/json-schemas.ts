import { z } from "zod";

/** A JSON schema of the API's document. */
export type JsonSchema = Record<string, unknown>;

type Override = (place: { zodSchema: z.core.$ZodType; jsonSchema: z.core.JSONSchema.BaseSchema }) => void;

/** Options of `z.toJSONSchema`: every part of a schema is written in its place, without references to components. */
export function inPlace(override: Override) {
  return { unrepresentable: "any", metadata: z.registry<{ id?: string }>(), override } as const;
}

/** A reference to a component of the API's document. */
export const refTo = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/** The component of a type: `if_else` and "Step" are `IfElseStep`. */
export function componentOf(type: string, ending: string): string {
  return type.replaceAll(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase()) + ending;
}

/** The union of the components of these types. The field `propertyName` of each has the name of its type. */
export function unionOf(types: readonly string[], ending: string, propertyName: string): JsonSchema {
  const refs = types.map((type) => [type, refTo(componentOf(type, ending))] as const);
  return {
    oneOf: refs.map(([, ref]) => ref),
    discriminator: {
      propertyName,
      mapping: Object.fromEntries(refs.map(([type, { $ref }]) => [type, $ref])),
    },
  };
}
