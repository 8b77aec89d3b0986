import { isoTime } from "./text/iso-time.ts";
import { traceIdOf } from "./tracing/span.ts";

/** The values that vary from one log line of an event to the next: names and numbers, never a secret, a prompt or a payload. */
export type LogFields = Record<string, string | number | boolean | null | undefined>;

type Level = "info" | "warn" | "error";

/** Lines that wait for the end of this turn of the event loop, in a process that joins lines. */
let pending: string[] = [];
let joinsLines = false;

function flush(): void {
  if (pending.length === 0) return;
  const lines = pending.join("\n");
  pending = [];
  console.log(lines);
}

function write(level: Level, event: string, fields: LogFields): void {
  const line = JSON.stringify({ at: isoTime(Date.now()), level, event, ...fields });
  if (level !== "info") {
    flush();
    console.error(line);
    return;
  }
  if (!joinsLines) {
    console.log(line);
    return;
  }
  if (pending.length === 0) setTimeout(flush, 0);
  pending.push(line);
}

/** The log of every process. An event is one line of JSON, `{at, level, event, …fields}`; its name is constant, in the past tense. */
export const log = {
  info: (event: string, fields: LogFields = {}): void => write("info", event, fields),
  warn: (event: string, fields: LogFields = {}): void => write("warn", event, fields),
  error: (event: string, fields: LogFields = {}): void => write("error", event, fields),
  /**
   * Writes the info lines of one turn of the event loop together: a write to a pipe blocks, so a busy process makes
   * one for all of them. Only for a process that calls `flush` before it ends. In a Worker every line is written at
   * once: a timer may be dropped with its request, and the line with it.
   */
  joinLines(): void {
    joinsLines = true;
  },
  /** Writes the pending lines: before a process ends. */
  flush,
};

/** What a log line says of its run. `tenant_id` is absent where an edge of an earlier version has not sent it. */
export type AboutRun = {
  run_id: string;
  tenant_id?: string | undefined;
  traceparent?: string | null | undefined;
  correlation_id?: string | undefined;
};

/**
 * The fields of every line about a run: its id, its tenant and, as far as they are known, its trace and its correlation id. A run
 * without a trace has no `trace_id`.
 */
export function aboutRun(run: AboutRun) {
  const { run_id, tenant_id, traceparent, correlation_id } = run;
  return { run: run_id, tenant: tenant_id, trace_id: traceIdOf(traceparent), correlation_id };
}

/** The message of an error, without its stack. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
