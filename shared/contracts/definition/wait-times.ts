import { z } from "zod";
import { limits } from "./fields.ts";
import { placeholdersOf } from "./template.ts";
import type { StepOf } from "./step.ts";

type WaitTimes = Pick<StepOf<"wait">, "wait_seconds" | "wait_until">;

const RfcTime = z.iso.datetime({ offset: true });
const SECONDS = `must be a number of seconds from 0 to ${limits.waitSeconds}, or a template that gives one`;
const TIME =
  "must be a time as RFC 3339 writes it, such as 2026-06-04T09:15:30Z, or a template that gives one";

/** The number of seconds in a text; null: it is no number, or a step may not wait that long. */
export function secondsOf(text: string): number | null {
  const seconds = text.trim() === "" ? Number.NaN : Number(text);
  return seconds >= 0 && seconds <= limits.waitSeconds ? seconds : null;
}

/** The time in a text of RFC 3339, in milliseconds since 1970; null: the text is no such time. */
export function timeOf(text: string): number | null {
  return RfcTime.safeParse(text.trim()).success ? Date.parse(text.trim()) : null;
}

/** The error in the times of a wait step, as far as it is known before a run; null: there is none. */
export function waitError({
  wait_seconds,
  wait_until,
}: WaitTimes): { field: string; message: string } | null {
  if ((wait_seconds === null) === (wait_until === null)) {
    const message =
      "is required, or wait_until in its place: a wait step must have one of them, and not both";
    return { field: "wait_seconds", message };
  }
  if (typeof wait_seconds === "string" && isPlain(wait_seconds) && secondsOf(wait_seconds) === null) {
    return { field: "wait_seconds", message: SECONDS };
  }
  if (wait_until !== null && isPlain(wait_until) && timeOf(wait_until) === null) {
    return { field: "wait_until", message: TIME };
  }
  return null;
}

function isPlain(text: string): boolean {
  return placeholdersOf(text, true).length === 0;
}
