/** Keys of clients and keys of schedules are apart: a client cannot block a schedule by choosing its key. */
const CLIENT = "key:";
const SCHEDULE = "schedule:";

/** The stored singleton key for a key that a client chose. */
export function clientSingleton(key: string): string {
  return CLIENT + key;
}

/** The stored singleton key that the runs of a schedule share. */
export function scheduleSingleton(schedule: string): string {
  return SCHEDULE + schedule;
}

/** A stored singleton key as clients see it. */
export function clientKeyOf(stored: string): string {
  return stored.startsWith(CLIENT) ? stored.slice(CLIENT.length) : stored;
}
