/** What the processes of the system take: the largest memory of each, by samples, and its processor time. */
import { cpuMs, residentKiB } from "../../bench/cpu.ts";
import type { System } from "../system.ts";

const PERIOD_MS = 250;

/** `largestMiB`: the largest memory so far. `cpuMs`: the processor time so far. */
export type Taken = { name: string; largestMiB: number; cpuMs: number };

export class ProcessWatch {
  readonly #taken = new Map<number, Taken>();
  readonly #timer: NodeJS.Timeout;

  constructor({ workers, edge, rest }: System, others: readonly { name: string; pid: number }[]) {
    const watched = [...workers.flatMap(({ programs }) => programs), rest.program, edge.program, ...others];
    for (const { name, pid } of watched) this.#taken.set(pid, { name, largestMiB: 0, cpuMs: 0 });
    this.#timer = setInterval(() => {
      for (const [pid, taken] of this.#taken) sample(pid, taken);
    }, PERIOD_MS);
  }

  /** Begins to watch one more process. */
  add({ name, pid }: { name: string; pid: number }): void {
    this.#taken.set(pid, { name, largestMiB: 0, cpuMs: 0 });
  }

  /** What each process has taken until now, or until its end. */
  get taken(): Taken[] {
    return Array.from(this.#taken.values(), (taken) => ({ ...taken }));
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function sample(pid: number, taken: Taken): void {
  try {
    taken.largestMiB = Math.max(taken.largestMiB, residentKiB(pid) / 1024);
    taken.cpuMs = cpuMs(pid);
  } catch {
    // The process has ended: phase.ts reports that of the processes of the system.
  }
}
