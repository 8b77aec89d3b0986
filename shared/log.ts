/** What varies in an event: names, numbers, never a secret, a prompt or a payload. */
export type LogFields = Record<string, string | number | boolean | null | undefined>;

type Level = "info" | "warn" | "error";

/** Lines that wait for the end of this turn of the loop: a write to a pipe blocks, so there is one for all of them. */
let waiting: string[] = [];

function flush(): void {
  if (waiting.length === 0) return;
  const lines = waiting.join("\n");
  waiting = [];
  console.log(lines);
}

function write(level: Level, event: string, fields: LogFields): void {
  const line = JSON.stringify({ at: new Date().toISOString(), level, event, ...fields });
  if (level !== "info") {
    flush();
    console.error(line);
    return;
  }
  if (waiting.length === 0) setTimeout(flush, 0);
  waiting.push(line);
}

/** One event, one line of JSON: a constant name in the past tense, and fields. */
export const log = {
  info: (event: string, fields: LogFields = {}): void => write("info", event, fields),
  warn: (event: string, fields: LogFields = {}): void => write("warn", event, fields),
  error: (event: string, fields: LogFields = {}): void => write("error", event, fields),
  /** Writes what waits: before a process ends. */
  flush,
};

/** The words of an error for a log line, without its stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
