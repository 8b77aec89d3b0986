import { readFileSync } from "node:fs";

const TICKS_PER_SECOND = 100;

/** The processor time that a process has used, in milliseconds: it does not depend on what else the machine does. */
export function cpuMs(pid: number): number {
  // The name in field 2 may hold spaces; what follows its bracket does not.
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
}
