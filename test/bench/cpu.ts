import { readFileSync, readdirSync } from "node:fs";

const TICKS_PER_SECOND = 100;

/** The processor time of a process in milliseconds. It hardly depends on the load of the machine. */
export function cpuMs(pid: number): number {
  const { used } = readStat(pid);
  return ticksToMs(used);
}

/** Of a process's main thread: its processor time, and how long it had work and waited for a processor. In milliseconds. */
export function mainThreadTimes(pid: number): { mainCpuMs: number; waitedMs: number } {
  const [usedNs = NaN, waitedNs = NaN] = readFileSync(`/proc/${pid}/schedstat`, "utf8")
    .split(" ")
    .map(Number);
  return { mainCpuMs: usedNs / 1e6, waitedMs: waitedNs / 1e6 };
}

/** The processor time of a process and all its descendants, including those that have ended. */
export function treeCpuMs(root: number): number {
  const stats = readAll();
  const treeTicks = (pid: number): number => {
    const stat = stats.get(pid);
    if (!stat) return 0;
    const children = Array.from(stats).filter(([, { parent }]) => parent === pid);
    return children.reduce((sum, [child]) => sum + treeTicks(child), stat.used + stat.usedByEnded);
  };
  return ticksToMs(treeTicks(root));
}

/** The memory of a process that is in RAM, in KiB. */
export function residentKiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? NaN);
}

/** `name`: the program, without its arguments. A page that processes share counts for each in `rssKiB`, and once in the sum of `pssKiB`. */
export type ProcessMemory = { name: string; rssKiB: number; pssKiB: number };

/** The memory of a process and of its descendants. */
export function treeMemory(root: number): ProcessMemory[] {
  const stats = readAll();
  const treeOf = (pid: number): number[] => [
    pid,
    ...Array.from(stats).flatMap(([child, { parent }]) => (parent === pid ? treeOf(child) : [])),
  ];
  return treeOf(root).flatMap((pid) => {
    try {
      return memoryOf(pid);
    } catch {
      // It has ended in the meantime.
      return [];
    }
  });
}

function memoryOf(pid: number): ProcessMemory {
  const memory = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kib = (field: string): number => Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(memory)?.[1]);
  const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  const program = words.slice(1).find((word) => /\.(mjs|ts)$/.test(word)) ?? words[0] ?? "";
  // Postgres' backends and npm write more into their title than their name.
  const name = program
    .replace(/ (synapse|--|start|127).*/, "")
    .trim()
    .split("/")
    .slice(-2)
    .join("/");
  return { name, rssKiB: kib("Rss"), pssKiB: kib("Pss") };
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
