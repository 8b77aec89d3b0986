import { ATTR_DB_OPERATION_NAME, ATTR_DB_SYSTEM_NAME } from "@opentelemetry/semantic-conventions";
import { DB_SYSTEM_NAME_VALUE_POSTGRESQL } from "@opentelemetry/semantic-conventions";
import type { Attributes } from "./span.ts";

/** The attributes of a statement's span: what it does, and none of its values. */
export function postgresAttributes(operation: string): Attributes {
  return { [ATTR_DB_SYSTEM_NAME]: DB_SYSTEM_NAME_VALUE_POSTGRESQL, [ATTR_DB_OPERATION_NAME]: operation };
}

/** The attributes of a command's span: its name, or the verb of the queue whose script it runs. */
export function redisAttributes(operation: string): Attributes {
  return { [ATTR_DB_SYSTEM_NAME]: "redis", [ATTR_DB_OPERATION_NAME]: operation };
}
