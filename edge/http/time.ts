/** Milliseconds since 1970 in the format of the API: `2026-06-04T09:15:30.123Z`. */
export function isoTime(ms: number): string;
export function isoTime(ms: number | null): string | null;
export function isoTime(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
