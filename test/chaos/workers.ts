/** The workers of a chaos run. Faults kill, stop and drain them; each worker is started again when it has ended. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { Incarnation } from "../../shared/contracts/ids.ts";
import { nodeProgram } from "../../local/processes/programs.ts";
import { endProgram, startProgram } from "./program.ts";
import type { Program } from "./program.ts";

const READY_MS = 60_000;
const PAUSE_MS = 700;

const Ready = z.looseObject({ incarnation: Incarnation });

/** The end of a worker without a drain: by a fault, or at a point. `atMs`: time of this machine's clock. */
export type Death = { incarnation: Incarnation; atMs: number };

export class ManagedWorker {
  readonly name: string;
  readonly #env: Record<string, string>;
  readonly #deaths: Death[];
  /** All processes of this worker, one after the other. */
  readonly programs: Program[] = [];
  #program: Program | null = null;
  #incarnation: Incarnation | null = null;
  #ending = false;
  stopped = false;

  constructor(name: string, env: Record<string, string>, deaths: Death[]) {
    this.name = name;
    this.#env = env;
    this.#deaths = deaths;
  }

  get alive(): boolean {
    return this.#program !== null && !this.stopped;
  }

  /** The runs that this worker executes, by its log. */
  get heldRuns(): Set<string> {
    const runs = new Set<string>();
    for (const line of this.#program?.lines ?? []) {
      const [, event, run] = /"event":"run\.(claimed|left)","run":"([^"]+)"/.exec(line) ?? [];
      if (run === undefined) continue;
      if (event === "claimed") runs.add(run);
      else runs.delete(run);
    }
    return runs;
  }

  get active(): number {
    return this.heldRuns.size;
  }

  /** Starts the worker again each time it has ended, until `end`. A start that fails (a store is away) is repeated. */
  async keepRunning(): Promise<void> {
    while (!this.#ending) {
      try {
        const env = { ...this.#env, WORKER_ID: this.name };
        const { program, line: ready } = await startProgram(
          this.name,
          nodeProgram("test/chaos/armed-worker.ts", env),
          { event: "worker.ready" },
          READY_MS,
        );
        this.programs.push(program);
        this.#program = program;
        this.#incarnation = Ready.parse(ready).incarnation;
        await program.ended;
        const drained = program.lines.some((line) => line.includes("worker.drain_started"));
        if (!drained) this.#deaths.push({ incarnation: this.#incarnation, atMs: Date.now() });
      } catch {
        // A store was away, or the worker died at a point before it was ready.
      }
      this.#program = null;
      this.stopped = false;
      await sleep(PAUSE_MS);
    }
  }

  kill(): void {
    this.#program?.kill("SIGKILL");
  }

  /** Drains the worker, which is started again afterwards. */
  drain(): void {
    this.#program?.kill("SIGTERM");
  }

  pause(): void {
    if (this.#program === null) return;
    this.stopped = true;
    this.#program.kill("SIGSTOP");
  }

  resume(): void {
    this.stopped = false;
    this.#program?.kill("SIGCONT");
  }

  async end(): Promise<void> {
    this.#ending = true;
    this.resume();
    if (this.#program) await endProgram(this.#program);
  }
}
