import { isObject, objectOf } from "../../../shared/contracts/json.ts";
import { textOf, without } from "../json-fields.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";

/**
 * The error in an event: beside an answer, or as the whole event. An empty `error` is none. Gateways write their own errors in
 * OpenAI's shapes, whatever the format is that they pass on.
 * @param holdsAnswer the event has a part of an answer: only `error` itself counts
 */
export function errorOfEvent(
  event: JsonObject,
  name: string | undefined,
  holdsAnswer: boolean,
): Json | undefined {
  const { error } = event;
  // Beside `error: true` or a word, the rest of the event says more.
  if (isFilled(error)) return isObject(error) ? error : without(event, "choices", "candidates");
  if (holdsAnswer) return undefined;
  const [exception, ...others] = Object.entries(event).filter(([field]) => /^[a-z]\w*Exception$/.test(field));
  // AWS names the kind of an error by the field that holds it.
  if (exception !== undefined && others.length === 0 && isObject(exception[1]))
    return { type: exception[0], ...exception[1] };
  const hasStatus = [event["status"], event["statusCode"]].some((status) => Number(status) >= 400);
  const isWhole =
    name === "error" ||
    event["object"] === "error" ||
    event["type"] === "error" ||
    event["success"] === false ||
    isFilled(event["detail"]) ||
    isFilled(event["errors"]) ||
    isFilled(objectOf(event["base_resp"])["status_code"]) ||
    (textOf(event["message"]) !== undefined &&
      (hasStatus || ["code", "type", "error_code"].some((field) => isFilled(event[field]))));
  return isWhole ? event : undefined;
}

/** Whether a field says something: it is not absent, null, empty, false or 0. */
export function isFilled(value: Json | undefined): boolean {
  if (value === undefined || value === null || value === "" || value === false || value === 0) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}
