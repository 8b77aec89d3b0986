/** The memory and the processor time that the processes of the system use: the largest memory of each is found by samples. */
import { cpuMs, mainThreadTimes, residentKiB, treeCpuMs } from "../../bench/cpu.ts";
import type { System } from "../system.ts";

const PERIOD_MS = 250;

/**
 * `largestMiB`: the largest memory so far. `cpuMs`: the processor time so far, of all threads. Of the main thread, on which requests
 * and runs wait for each other: `mainCpuMs` its processor time, and `waitedMs` the time in which it had work and no processor.
 */
export type ProcessUse = {
  name: string;
  largestMiB: number;
  cpuMs: number;
  mainCpuMs: number;
  waitedMs: number;
};

const NOTHING = { largestMiB: 0, cpuMs: 0, mainCpuMs: 0, waitedMs: 0 };

export class ProcessWatch {
  readonly #uses = new Map<number, ProcessUse>();
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
    for (const { name, pid } of watched) this.#uses.set(pid, { name, ...NOTHING });
    this.#postgresPid = postgres.pid;
    this.#timer = setInterval(() => {
      for (const [pid, use] of this.#uses) sample(pid, use);
    }, PERIOD_MS);
  }

  /** Begins to watch one more process. */
  add({ name, pid }: { name: string; pid: number }): void {
    this.#uses.set(pid, { name, ...NOTHING });
  }

  /** What each process has used until now, or until its end. For Postgres it is the time of all its processes, whose memory is shared. */
  get uses(): ProcessUse[] {
    const postgres = { ...NOTHING, name: "postgres", cpuMs: treeCpuMs(this.#postgresPid) };
    return [postgres, ...Array.from(this.#uses.values(), (use) => ({ ...use }))];
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** What a process used between two samples, and its largest memory. */
export function usedSince(after: ProcessUse, before: ProcessUse | undefined): ProcessUse {
  const from = before ?? { ...NOTHING, name: after.name };
  return {
    name: after.name,
    largestMiB: after.largestMiB,
    cpuMs: after.cpuMs - from.cpuMs,
    mainCpuMs: after.mainCpuMs - from.mainCpuMs,
    waitedMs: after.waitedMs - from.waitedMs,
  };
}

function sample(pid: number, use: ProcessUse): void {
  try {
    use.largestMiB = Math.max(use.largestMiB, residentKiB(pid) / 1024);
    use.cpuMs = cpuMs(pid);
    Object.assign(use, mainThreadTimes(pid));
  } catch {
    // The process has ended: phase.ts reports that of the processes of the system.
  }
}
