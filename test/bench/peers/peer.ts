/** A participant of the bench: ours, the floor, or a peer. Each has a file in this folder. */

import type { Service } from "../../../local/processes/child.ts";

/**
 * `one`: a job of one step that calls nothing. `five`: five steps, each of which calls a local HTTP server that responds at once;
 * the result of each is stored before the next one begins.
 */
export type Kind = "one" | "five";
export type Job = { id: string; kind: Kind };

/** The stores of one participant, which no other uses, and the server that steps call. */
export type Place = { dir: string; postgresUrl: string; redisUrl: string; toolUrl: string };

/** How often each step of each job was executed, by `<job>/s<number of the step>`. */
export type Executions = ReadonlyMap<string, number>;

export type Running = {
  /** Submits a job. @returns its id, when the participant has acknowledged it */
  submit(kind: Kind): Promise<string>;
  /** Executes jobs from now on. Until then submitted jobs wait. */
  open(): Promise<void>;
  /** Jobs wait again. It is called when all submitted jobs have ended. */
  close(): Promise<void>;
  /** The number of jobs that have ended since the start. */
  countEnded(): number | Promise<number>;
  /** Called before jobs are followed one by one. */
  watch(): Promise<void>;
  /** When a job was claimed and when it ended, in milliseconds of this machine's clock (`nowMs`). */
  timesOf(id: string): Promise<{ claimedMs: number; endedMs: number }>;
  /** What was executed, by each witness: a step of a job of this kind must be in each exactly once. */
  executions(kind: Kind): Promise<readonly Executions[]>;
  stop(): Promise<void>;
};

/** What a participant needs of the bench: its stores, and the calls that the server for steps has received. */
export type Setting = { place: Place; called: Executions; postgres: Service; redis: Service };

export type Participant = { name: string; version: string; start(setting: Setting): Promise<Running> };

/** Milliseconds since 1970 with parts, comparable between the processes of one machine. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

export function stepsOf({ kind }: Pick<Job, "kind">): number {
  return kind === "one" ? 1 : 5;
}

export function stepKey(id: string, step: number): string {
  return `${id}/s${step}`;
}
