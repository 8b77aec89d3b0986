import { z } from "zod";
import { isJsonSchema } from "../../shared/contracts/json.ts";
import type { JsonPath } from "../../shared/contracts/long-integers.ts";

/** Whether a path of a body leads into a value of any shape, such as `state`: what is there is the client's, and not read here. */
export function isInsideJson(schema: z.ZodType, path: JsonPath): boolean {
  let at: unknown = schema;
  for (const name of path) {
    const inner: unknown = unwrapped(at);
    if (inner instanceof z.ZodType && isJsonSchema(inner)) return true;
    if (inner instanceof z.ZodArray) at = inner.element;
    else if (inner instanceof z.ZodObject && Object.hasOwn(inner.shape, name)) at = inner.shape[name];
    else return false;
  }
  return false;
}

function unwrapped(schema: unknown): unknown {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodNullable || inner instanceof z.ZodDefault)
    inner = inner.unwrap();
  return inner;
}
