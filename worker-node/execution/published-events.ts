import type { RunEvent } from "../../shared/contracts/event.ts";
import { INLINE_LIMIT_BYTES, shortened } from "./large-values.ts";

/**
 * The events that are published for an event that a running step notes. The text of a model is divided among as many events
 * as it needs, and never cut. In any other event over 32 KiB, large fields are cut to their first characters: their values
 * are stored with the step's result.
 */
export function publishedEvents(event: RunEvent): RunEvent[] {
  switch (event.type) {
    case "llm_delta": {
      const { first, ...more } = event;
      const pieces = divide(event.text, (text) => ({ ...event, text }));
      return pieces.map((text, i) => (i === 0 && first ? { ...more, first, text } : { ...more, text }));
    }
    case "llm_thought":
      return divide(event.thought, (thought) => ({ ...event, thought })).map((thought) => ({
        ...event,
        thought,
      }));
    default:
      return [shortened(event)];
  }
}

/** Halves a text until each part makes an event of at most 32 KiB of JSON. */
function divide(text: string, eventOf: (part: string) => RunEvent): string[] {
  if (text.length < 2 || Buffer.byteLength(JSON.stringify(eventOf(text))) <= INLINE_LIMIT_BYTES)
    return [text];
  let middle = Math.floor(text.length / 2);
  // A text is never divided between the two halves of a character beyond U+FFFF.
  if (isLowSurrogate(text, middle) && text.length > 2) middle += 1;
  return [text.slice(0, middle), text.slice(middle)].flatMap((part) => divide(part, eventOf));
}

function isLowSurrogate(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  return code >= 0xdc00 && code <= 0xdfff;
}
