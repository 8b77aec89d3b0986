/** What the processes of the system take: the largest memory of each, by samples, and its processor time. */
import { cpuMs, mainThreadTimes, residentKiB, treeCpuMs } from "../../bench/cpu.ts";
import type { System } from "../system.ts";

const PERIOD_MS = 250;

/**
 * `largestMiB`: the largest memory so far. `cpuMs`: the processor time so far, of all threads. Of the main thread, on which requests
 * and runs wait for each other: `mainCpuMs` its processor time, and `waitedMs` the time in which it had work and no processor.
 */
export type Taken = { name: string; largestMiB: number; cpuMs: number; mainCpuMs: number; waitedMs: number };

const NOTHING = { largestMiB: 0, cpuMs: 0, mainCpuMs: 0, waitedMs: 0 };

export class ProcessWatch {
  readonly #taken = new Map<number, Taken>();
  readonly #postgresPid: number;
  readonly #timer: NodeJS.Timeout;

  constructor(
    { workers, edge, rest, objectStore, postgres, redis }: System,
    others: readonly { name: string; pid: number }[],
  ) {
    const stores = [{ name: "redis", pid: redis.pid }];
    const watched = [
      ...workers.flatMap(({ programs }) => programs),
      edge.program,
      rest.program,
      ...(objectStore ? [objectStore] : []),
      ...stores,
      ...others,
    ];
    for (const { name, pid } of watched) this.#taken.set(pid, { name, ...NOTHING });
    this.#postgresPid = postgres.pid;
    this.#timer = setInterval(() => {
      for (const [pid, taken] of this.#taken) sample(pid, taken);
    }, PERIOD_MS);
  }

  /** Begins to watch one more process. */
  add({ name, pid }: { name: string; pid: number }): void {
    this.#taken.set(pid, { name, ...NOTHING });
  }

  /** What each process has taken until now, or until its end. Of Postgres it is the time of all its processes; their memory is shared. */
  get taken(): Taken[] {
    const postgres = { ...NOTHING, name: "postgres", cpuMs: treeCpuMs(this.#postgresPid) };
    return [postgres, ...Array.from(this.#taken.values(), (taken) => ({ ...taken }))];
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** What a process took between two samples, and its largest memory. */
export function since(after: Taken, before: Taken | undefined): Taken {
  const from = before ?? { ...NOTHING, name: after.name };
  return {
    name: after.name,
    largestMiB: after.largestMiB,
    cpuMs: after.cpuMs - from.cpuMs,
    mainCpuMs: after.mainCpuMs - from.mainCpuMs,
    waitedMs: after.waitedMs - from.waitedMs,
  };
}

function sample(pid: number, taken: Taken): void {
  try {
    taken.largestMiB = Math.max(taken.largestMiB, residentKiB(pid) / 1024);
    taken.cpuMs = cpuMs(pid);
    Object.assign(taken, mainThreadTimes(pid));
  } catch {
    // The process has ended: phase.ts reports that of the processes of the system.
  }
}
