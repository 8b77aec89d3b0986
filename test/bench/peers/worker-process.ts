/** A peer's worker as the bench sees it. */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Executions, Place } from "./peer.ts";
import { Ready, Report } from "./work.ts";

const END_MS = 10_000;
const JOB_MS = 30_000;

/** A peer's worker, in one process after another: what all of them have reported since the start. */
export class PeerWorker {
  readonly #name: string;
  readonly #place: Place;
  readonly #claimed = new Map<string, number>();
  readonly #ended = new Map<string, number>();
  readonly #ran = new Map<string, number>();
  readonly #waiting = new Map<string, () => void>();
  #child: ChildProcess | null = null;

  constructor(name: string, place: Place) {
    this.#name = name;
    this.#place = place;
  }

  get ran(): Executions {
    return this.#ran;
  }

  countEnded(): number {
    return this.#ended.size;
  }

  /** Starts a process. @returns the port of its HTTP server, 0 when it has none */
  async start(): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const child = fork(join(import.meta.dirname, "worker.ts"), [this.#name], {
      env: { ...process.env, PEER_PLACE: JSON.stringify(this.#place) },
    });
    this.#child = child;
    child.once("exit", (code, signal) => {
      const ended = new Error(`the worker of ${this.#name} ended: ${signal ?? code}`);
      // Its jobs do not end any more, and the checks count them as lost.
      if (this.#child === child) console.error(ended.message);
      reject(ended);
    });
    child.on("message", (message) => {
      const ready = Ready.safeParse(message);
      if (ready.success) resolve(ready.data.port ?? 0);
      else this.#read(message);
    });
    return promise;
  }

  setOpen(open: boolean): void {
    this.#child?.send({ open });
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.disconnect();
    const timer = setTimeout(() => child.kill("SIGKILL"), END_MS);
    await ended;
    clearTimeout(timer);
  }

  /** Waits for the end of a job. @throws Error when it does not end in time */
  async timesOf(id: string): Promise<{ claimedMs: number; endedMs: number }> {
    if (!this.#ended.has(id)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.set(id, resolve);
      const abandon = new AbortController();
      await Promise.race([promise, sleep(JOB_MS, undefined, { signal: abandon.signal })]);
      abandon.abort();
    }
    const [claimedMs, endedMs] = [this.#claimed.get(id), this.#ended.get(id)];
    if (claimedMs === undefined || endedMs === undefined)
      throw new Error(`${this.#name}: the job ${id} has not ended in ${JOB_MS} ms`);
    return { claimedMs, endedMs };
  }

  #read(message: unknown): void {
    const { claimed, ended, ran } = Report.parse(message);
    // The first claim counts: a step of a chain is a job of its own.
    for (const [id, ms] of claimed) if (!this.#claimed.has(id)) this.#claimed.set(id, ms);
    for (const key of ran) this.#ran.set(key, (this.#ran.get(key) ?? 0) + 1);
    for (const [id, ms] of ended) {
      this.#ended.set(id, ms);
      this.#waiting.get(id)?.();
      this.#waiting.delete(id);
    }
  }
}
