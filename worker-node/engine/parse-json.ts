import { JsonValue } from "../../shared/contracts/json.ts";
import { withLongIntegersAsText } from "../../shared/contracts/long-integers.ts";
import type { Json } from "../../shared/contracts/json.ts";

/**
 * The JSON value in a text of a model, a provider or a tool; undefined when the text is none, or is one that state cannot
 * hold. An integer beyond 2^53 becomes a text of its digits: as a number it would have other digits.
 */
export function parseJson(text: string): Json | undefined {
  try {
    const parsed = JsonValue.safeParse(JSON.parse(withLongIntegersAsText(text)));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}

/** The JSON value in a text, which may be null; the text itself where it is none. */
export function jsonOrText(text: string): Json {
  const value = parseJson(text);
  return value === undefined ? text : value;
}
