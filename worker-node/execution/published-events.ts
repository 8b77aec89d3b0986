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

/**
 * Divides a text into parts each of which makes an event of at most 32 KiB of JSON. The time is linear in the length of the text: a part
 * is tried with at most twice the characters of the part before it.
 */
function divide(text: string, eventOf: (part: string) => RunEvent): string[] {
  const room = INLINE_LIMIT_BYTES - jsonBytes(eventOf(""));
  const parts: string[] = [];
  let chars = room;
  for (let from = 0; from < text.length || parts.length === 0;) {
    let to = Math.min(text.length, from + chars);
    while (to - from > 2 && jsonBytes(text.slice(from, to)) - 2 > room)
      to = from + Math.floor((to - from) / 2);
    // A text is never divided between the two halves of a character beyond U+FFFF.
    if (isLowSurrogate(text, to) && to - from > 1) to -= 1;
    parts.push(text.slice(from, to));
    chars = Math.min(room, 2 * (to - from));
    from = to;
  }
  return parts;
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function isLowSurrogate(text: string, index: number): boolean {
  const code = text.charCodeAt(index);
  return code >= 0xdc00 && code <= 0xdfff;
}
