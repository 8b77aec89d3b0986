import type { Orchestration } from "../contracts/definition/index.ts";
import type { JsonObject } from "../contracts/json.ts";
import type { RunInput } from "../contracts/run.ts";

/**
 * A run's state before its first step: the defaults of the schema, over them the state of the request, over both the
 * message as `user_input` and `user_query`.
 */
export function initialState(definition: Pick<Orchestration, "state_schema">, input: RunInput): JsonObject {
  const defaults = Object.entries(definition.state_schema).map(([key, field]) => [
    key,
    field.default ?? null,
  ]);
  return {
    ...Object.fromEntries(defaults),
    ...input.state,
    user_input: input.message,
    user_query: input.message,
  };
}

/** State as clients see it: without the engine's own keys, which begin with `_`. */
export function publicState(state: Readonly<JsonObject>): JsonObject {
  return Object.fromEntries(Object.entries(state).filter(([key]) => !key.startsWith("_")));
}
