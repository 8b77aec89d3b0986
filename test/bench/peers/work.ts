/** The process that executes a peer's jobs: what it reports to the bench, and the steps themselves. */
import { z } from "zod";
import { nowMs, stepKey } from "./peer.ts";
import type { Job, Place } from "./peer.ts";
import { callTool } from "./tool.ts";

const REPORT_MS = 5;

const Times = z.array(z.tuple([z.string(), z.number()]));
/** From the worker's process to the bench: ids with their times, and keys of executed steps. */
export const Report = z.object({ claimed: Times, ended: Times, ran: z.array(z.string()) });
/** From the worker's process to the bench when it executes jobs, or accepts them. `port`: of its HTTP server, if it has one. */
export const Ready = z.object({ ready: z.literal(true), port: z.number().optional() });
/** From the bench to the worker's process. */
export const Gate = z.object({ open: z.boolean() });

/** What a peer's file has for the worker's process. `port`: the HTTP server on which it accepts or executes jobs. */
export type Work = (bench: Bench) => Promise<{ port?: number; stop(): Promise<void> }>;

/** The bench as a peer's worker sees it. */
export class Bench {
  readonly place: Place;
  #report: z.infer<typeof Report> = { claimed: [], ended: [], ran: [] };
  #isReportDue = false;
  #gate = Promise.withResolvers<void>();

  constructor(place: Place) {
    this.place = place;
  }

  /** The first line of a job's handler. */
  claimed(job: Job): void {
    this.#report.claimed.push([job.id, nowMs()]);
    this.#reportSoon();
  }

  /** Executes a step of a job. The peer stores the result. */
  async step(job: Job, step: number): Promise<string> {
    if (job.kind === "five") await callTool(this.place.toolUrl, job.id, step);
    else this.#report.ran.push(stepKey(job.id, step));
    return `result of step ${step}`;
  }

  ended(job: Job): void {
    this.#report.ended.push([job.id, nowMs()]);
    this.#reportSoon();
  }

  setOpen(isOpen: boolean): void {
    if (isOpen) this.#gate.resolve();
    else this.#gate = Promise.withResolvers();
  }

  /** For a peer whose process must run to accept jobs: its handler waits here until the bench lets jobs execute. */
  untilOpen(): Promise<void> {
    return this.#gate.promise;
  }

  #reportSoon(): void {
    if (this.#isReportDue) return;
    this.#isReportDue = true;
    setTimeout(() => {
      this.#isReportDue = false;
      process.send?.(this.#report);
      this.#report = { claimed: [], ended: [], ran: [] };
    }, REPORT_MS);
  }
}
