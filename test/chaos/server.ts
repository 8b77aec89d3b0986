/** A program that keeps its port over restarts, so that its clients find it again. */
import { setTimeout as sleep } from "node:timers/promises";
import { endProgram, startProgram } from "./program.ts";
import type { Program } from "./program.ts";
import type { Command } from "../../local/processes/child.ts";

const START_MS = 30_000;
const START_TRIES = 5;

export class Server {
  readonly #start: () => Promise<Program>;
  readonly #earlierLines: string[] = [];
  program: Program;

  private constructor(program: Program, start: () => Promise<Program>) {
    this.program = program;
    this.#start = start;
  }

  /** Starts `command`; it listens when it has logged an event with the fields of `ready`. */
  static async start(name: string, command: Command, ready: { event: string } & Record<string, string>) {
    const start = async () => (await startProgram(name, command, ready, START_MS)).program;
    return new Server(await start(), start);
  }

  /** The log of all processes of this server, one after the other. */
  get lines(): string[] {
    return [...this.#earlierLines, ...this.program.lines];
  }

  async restart(downMs: number, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    if (signal === "SIGKILL") this.program.kill("SIGKILL");
    await endProgram(this.program);
    await sleep(downMs);
    this.#earlierLines.push(...this.program.lines);
    for (let tries = 1; ; tries++) {
      try {
        this.program = await this.#start();
        return;
      } catch (error) {
        // A store may be away at this moment.
        if (tries === START_TRIES) throw error;
      }
    }
  }
}
