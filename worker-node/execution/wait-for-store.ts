import { setTimeout as sleep } from "node:timers/promises";
import { aboutRun, log, messageOf } from "../../shared/log.ts";
import type { AboutRun } from "../../shared/log.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { judgeStatement } from "../clients/sqlstate.ts";
import { abortable } from "./stop.ts";

/** The pause between two reads from a store that does not answer. */
const PAUSE_MS = 500;

/**
 * Reads until the store answers, unless what is read is there at once: a store that is unreachable for a moment must not fail a run, or use up a try of its step.
 * @throws TerminalError `unreadable` when the stored text itself is the reason that it cannot be read
 */
export async function waitForStore<Answer>(
  run: AboutRun,
  signal: AbortSignal,
  read: () => Answer | Promise<Answer>,
): Promise<Answer> {
  for (;;) {
    try {
      const answer = read();
      return answer instanceof Promise ? await abortable(signal, answer) : answer;
    } catch (error) {
      if (signal.aborted || error instanceof TerminalError) throw error;
      if (judgeStatement(error) === "data") throw unreadable(error);
      log.warn("run.store_read_failed", { ...aboutRun(run), message: messageOf(error) });
      await abortable(signal, sleep(PAUSE_MS));
    }
  }
}

/** The failure of a run whose stored input or journal can never be read. */
export function unreadable(cause: unknown): TerminalError {
  return new TerminalError("unreadable", "what the run has stored cannot be read", { cause });
}
