/** The five workloads, the same for every participant. */
import { setTimeout as sleep } from "node:timers/promises";
import { CLIENTS } from "../requests.ts";
import { quantile } from "../stats.ts";
import { judge } from "./checks.ts";
import type { Verdict } from "./checks.ts";
import { nowMs } from "./peer.ts";
import type { Job, Kind, Running } from "./peer.ts";

/** The figures of one round. */
export const FIGURES = {
  submitPerSecond: `submit → acknowledged, c=${CLIENTS}, per second`,
  submitP99Ms: `submit → acknowledged, c=${CLIENTS}, p99 ms`,
  drainPerSecond: "drain of one-step runs, per second",
  claimP50Ms: "submit → claimed, idle, p50 ms",
  claimP99Ms: "submit → claimed, idle, p99 ms",
  stepsPerSecond: "durable runs of 5 steps, per second",
  aloneP50Ms: "one 5-step run alone, p50 ms",
  aloneP99Ms: "one 5-step run alone, p99 ms",
} as const;
export type Figure = keyof typeof FIGURES;
export type Figures = Record<Figure, number>;

const WARM = 200;
const LEAST = 50;
const ALONE = 200;
/** With fewer samples the p50 would be that of the first jobs, which come after a pause and warm up. */
const LEAST_ALONE = 20;
const IDLE_MS = 1_000;
const POLL_MS = 50;
/** When no further job ends in this time, the bench goes on. It is long, because a participant that executes step by step ends its jobs late. */
const STALL_MS = 60_000;

/** Measures one round. @param seconds about how long each workload lasts */
export async function measure(
  running: Running,
  seconds: number,
): Promise<{ figures: Figures; verdict: Verdict }> {
  const acknowledged: Job[] = [];
  const submitMany = (kind: Kind, isEnough: (submitted: number) => boolean): Promise<number[]> =>
    submitAll(running, kind, acknowledged, isEnough);

  await submitMany("one", (submitted) => submitted >= WARM);
  const startedMs = nowMs();
  const submits = await submitMany("one", () => nowMs() - startedMs >= seconds * 1_000);
  const submitPerSecond = submits.length / ((nowMs() - startedMs) / 1_000);
  const drainPerSecond = await drain(running, acknowledged.length);

  await running.close();
  // As many five-step jobs as last about `seconds`, when five steps cost five times as much as one job.
  const count = Math.min(10_000, Math.max(LEAST, Math.round((drainPerSecond * seconds) / 5)));
  const before = acknowledged.length;
  await submitMany("five", (submitted) => submitted >= count);
  const stepsPerSecond = await drain(running, acknowledged.length - before, before);

  await sleep(IDLE_MS);
  const { claims, totals } = await alone(running, acknowledged, seconds);
  const witnesses = { one: await running.executions("one"), five: await running.executions("five") };
  return {
    figures: {
      submitPerSecond,
      submitP99Ms: quantile(submits, 0.99),
      drainPerSecond,
      claimP50Ms: quantile(claims, 0.5),
      claimP99Ms: quantile(claims, 0.99),
      stepsPerSecond,
      aloneP50Ms: quantile(totals, 0.5),
      aloneP99Ms: quantile(totals, 0.99),
    },
    verdict: judge(acknowledged, witnesses),
  };
}

/** Submits jobs with 64 clients, each after its acknowledgement. @returns the milliseconds until each acknowledgement */
async function submitAll(
  running: Running,
  kind: Kind,
  acknowledged: Job[],
  isEnough: (submitted: number) => boolean,
): Promise<number[]> {
  const latenciesMs: number[] = [];
  let submitted = 0;
  const client = async (): Promise<void> => {
    while (!isEnough(submitted)) {
      submitted += 1;
      const startedMs = nowMs();
      const id = await running.submit(kind);
      latenciesMs.push(nowMs() - startedMs);
      acknowledged.push({ id, kind });
    }
  };
  await Promise.all(Array.from({ length: CLIENTS }, client));
  return latenciesMs;
}

/**
 * Lets the participant execute `count` waiting jobs. @param endedBefore jobs that had ended already
 * @returns jobs per second from the moment at which the participant executes jobs until all have ended: a participant that executes
 * step by step ends nearly all of them at the end, so no part of that time can be left out
 */
async function drain(running: Running, count: number, endedBefore = 0): Promise<number> {
  await running.open();
  const startedMs = nowMs();
  let ended = 0;
  let progressMs = startedMs;
  while (ended < count && nowMs() - progressMs < STALL_MS) {
    await sleep(POLL_MS);
    const endedNow = (await running.countEnded()) - endedBefore;
    if (endedNow > ended) progressMs = nowMs();
    ended = endedNow;
  }
  return ended / ((progressMs - startedMs) / 1_000);
}

/** One five-step job after another, on a participant that does nothing else. */
async function alone(
  running: Running,
  acknowledged: Job[],
  seconds: number,
): Promise<{ claims: number[]; totals: number[] }> {
  const claims: number[] = [];
  const totals: number[] = [];
  await running.watch();
  const untilMs = nowMs() + seconds * 1_000;
  while (totals.length < ALONE && (nowMs() < untilMs || totals.length < LEAST_ALONE)) {
    const submittedMs = nowMs();
    const id = await running.submit("five");
    acknowledged.push({ id, kind: "five" });
    const { claimedMs, endedMs } = await running.timesOf(id);
    claims.push(Math.max(0, claimedMs - submittedMs));
    totals.push(endedMs - submittedMs);
  }
  return { claims, totals };
}
