/** The workers of a chaos run: killed, stopped, drained, and started again as a fleet would. */
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { Incarnation } from "../../shared/contracts/ids.ts";
import { endProgram, startProgram } from "./program.ts";
import type { Program } from "./program.ts";

const READY_MS = 20_000;
const PAUSE_MS = 700;

const Ready = z.looseObject({ incarnation: Incarnation });

/** A worker's death without a word: by us, or at a point. `atMs` by the clock of this machine. */
export type Death = { incarnation: Incarnation; atMs: number };

export class ManagedWorker {
  readonly name: string;
  readonly #env: Record<string, string>;
  readonly #deaths: Death[];
  /** What all its lives have said, one after the other. */
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

  /** The runs that it has in its hands, as it says itself. */
  get heldRuns(): Set<string> {
    const held = new Set<string>();
    for (const line of this.#program?.lines ?? []) {
      const [, event, run] = /"event":"run\.(claimed|left)","run":"([^"]+)"/.exec(line) ?? [];
      if (run === undefined) continue;
      if (event === "claimed") held.add(run);
      else held.delete(run);
    }
    return held;
  }

  get active(): number {
    return this.heldRuns.size;
  }

  /** Lives, again and again, until `end`. A start that fails (a store is away) is tried again. */
  async keepRunning(): Promise<void> {
    while (!this.#ending) {
      try {
        const env = { ...this.#env, WORKER_ID: this.name };
        const { program, said } = await startProgram(
          this.name,
          "test/chaos/armed-worker.ts",
          env,
          "worker.ready",
          READY_MS,
        );
        this.programs.push(program);
        this.#program = program;
        this.#incarnation = Ready.parse(said).incarnation;
        await program.ended;
        const politely = program.lines.some((line) => line.includes("worker.drain_started"));
        if (!politely) this.#deaths.push({ incarnation: this.#incarnation, atMs: Date.now() });
      } catch {
        // Its store was away, or it died at a point before it was ready.
      }
      this.#program = null;
      this.stopped = false;
      await sleep(PAUSE_MS);
    }
  }

  kill(): void {
    this.#program?.kill("SIGKILL");
  }

  /** Asks it to hand back what it has; the fleet starts it again. */
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
