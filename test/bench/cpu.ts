import { readFileSync, readdirSync } from "node:fs";

const TICKS_PER_SECOND = 100;

/** The processor time of a process in milliseconds. It hardly depends on the load of the machine. */
export function cpuMs(pid: number): number {
  const { used } = readStat(pid);
  return ticksToMs(used);
}

/** The processor time of a process and all its descendants, including those that have ended. */
export function treeCpuMs(root: number): number {
  const stats = readAll();
  const ofTree = (pid: number): number => {
    const stat = stats.get(pid);
    if (!stat) return 0;
    const children = Array.from(stats).filter(([, { parent }]) => parent === pid);
    return children.reduce((sum, [child]) => sum + ofTree(child), stat.used + stat.usedByEnded);
  };
  return ticksToMs(ofTree(root));
}

/** The memory of a process that is in RAM, in KiB. */
export function residentKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? NaN);
}

/** The descendant of `root` that runs the program `name`. */
export function findDescendant(root: number, name: string): number {
  const stats = readAll();
  const isOurs = (pid: number): boolean => {
    const parent = stats.get(pid)?.parent ?? 0;
    return parent === root || (parent > 1 && isOurs(parent));
  };
  for (const [pid, stat] of stats) if (stat.name === name && isOurs(pid)) return pid;
  throw new Error(`process ${root} has no descendant ${name}`);
}

/** Name → a function that reads the processor time so far of that process, in milliseconds. */
export type Watched = Record<string, () => number>;

/** Does `work`. @returns the milliseconds of processor time that each watched process has used meanwhile */
export async function withCpu<Result>(
  watched: Watched,
  work: () => Promise<Result>,
): Promise<{ result: Result; usedMs: Map<string, number> }> {
  const read = () => new Map(Object.entries(watched).map(([name, usedMs]) => [name, usedMs()]));
  const before = read();
  const result = await work();
  const after = read();
  return {
    result,
    usedMs: new Map(Array.from(after, ([name, ms]) => [name, ms - (before.get(name) ?? 0)])),
  };
}

type Stat = { name: string; parent: number; used: number; usedByEnded: number };

function readAll(): Map<number, Stat> {
  const stats = new Map<number, Stat>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      stats.set(Number(entry), readStat(Number(entry)));
    } catch {
      // It has ended in the meantime.
    }
  }
  return stats;
}

function readStat(pid: number): Stat {
  // The name in field 2 may contain spaces and brackets; the fields after its last bracket do not.
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const [open, close] = [text.indexOf("("), text.lastIndexOf(") ")];
  const fields = text.slice(close + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]);
  return {
    name: text.slice(open + 1, close),
    parent: field(4),
    used: field(14) + field(15),
    usedByEnded: field(16) + field(17),
  };
}

function ticksToMs(ticks: number): number {
  return (ticks * 1_000) / TICKS_PER_SECOND;
}
