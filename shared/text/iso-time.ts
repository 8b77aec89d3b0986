/** The newest text of each of so many milliseconds that follow each other. */
const SLOTS = 64;
const kept = Array.from({ length: SLOTS }, () => ({ ms: NaN, text: "" }));

/**
 * A time as text (ISO 8601, UTC, milliseconds). A busy worker writes many texts of one millisecond, and Date makes one in half a
 * microsecond, so those of the last milliseconds are kept.
 * @param ms milliseconds since the epoch; null: there is no time
 */
export function isoTime(ms: number): string;
export function isoTime(ms: number | null): string | null;
export function isoTime(ms: number | null): string | null {
  if (ms === null) return null;
  const slot = kept[Math.abs(ms) % SLOTS];
  if (slot === undefined) return new Date(ms).toISOString();
  if (slot.ms !== ms) {
    slot.text = new Date(ms).toISOString();
    slot.ms = ms;
  }
  return slot.text;
}
