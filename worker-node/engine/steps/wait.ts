import { limits } from "../../../shared/contracts/definition/fields.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import { secondsOf, timeOf } from "../../../shared/contracts/definition/wait-times.ts";
import { TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import { clip } from "../prompt.ts";
import { renderTemplate } from "../render-template.ts";
import type { Executor, StepContext, StepResult, StepWait } from "../ports.ts";

/** The most characters of a wrong time that an error quotes. */
const QUOTED_CHARS = 100;

/**
 * Waits for a duration or until a time. The time is rendered once: the timer that begins with it lasts through crashes and a
 * client's retry. The run occupies no worker meanwhile, unless another branch of it moves.
 */
export const wait: Executor<"wait"> = async (step, context) => {
  const { reply } = context;
  switch (reply?.is) {
    case "expired":
      return over(reply.openForMs);
    case "open":
      return { waitFor: null, events: [] };
    case "closed":
      return begin(step, reply.leftMs);
    case undefined:
      return begin(step, await durationMs(step, context));
    case "answered":
      throw new Error(`the timer of step "${step.id}" has an answer`);
  }
};

function begin(step: StepOf<"wait">, leftMs: number): StepResult | StepWait {
  if (leftMs <= 0) return over(0);
  const until = new Date(Date.now() + leftMs).toISOString();
  return {
    waitFor: { kind: "timer", timeoutMs: leftMs },
    events: [{ type: "timer_started", ...namesOf(step), until }],
  };
}

function over(waitedMs: number): StepResult {
  return { set: {}, events: [], usage: [], effects: [], waitedMs };
}

/** How long the step waits from now on, by the clock of this worker; 0 or less: its time has passed. */
async function durationMs(step: StepOf<"wait">, context: StepContext): Promise<number> {
  const { wait_seconds, wait_until } = step;
  if (typeof wait_seconds === "number") return wait_seconds * 1_000;
  const text = await renderTemplate(wait_seconds ?? wait_until ?? "", context);
  if (wait_seconds !== null) {
    const seconds = secondsOf(text);
    if (seconds !== null) return seconds * 1_000;
    throw wrongTime("wait_seconds", text, `a number of seconds from 0 to ${limits.waitSeconds}`);
  }
  const time = timeOf(text);
  if (time === null) {
    throw wrongTime("wait_until", text, "a time as RFC 3339 writes it, such as 2026-06-04T09:15:30Z");
  }
  const leftMs = time - Date.now();
  if (leftMs <= limits.waitSeconds * 1_000) return leftMs;
  throw wrongTime("wait_until", text, "a time within a year from now");
}

function wrongTime(field: string, text: string, expected: string): TerminalError {
  const quoted = JSON.stringify(clip(text, QUOTED_CHARS));
  return new TerminalError("wait_time", `${field} is ${quoted}: it must be ${expected}`);
}
