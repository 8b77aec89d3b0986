/** Facts about a process by its pid. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** The state of a process that has ended and whose parent has not waited for it. */
const ZOMBIE = "Z";

/** Whether the process with this pid has not ended. It may be another one than expected: pids are reused. */
export function isRunning(pid: number): boolean {
  return startOf(pid) !== null;
}

/** The command line of a process, with spaces between the words; empty when the process has ended. */
export function commandLineOf(pid: number): string {
  const ps = spawnSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" });
  if (ps.status === 0) return ps.stdout.trim();
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

/** The pid in the first line of a file; null when the file does not exist or begins with none. */
export function readPid(file: string): number | null {
  try {
    const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
    return pid > 1 ? pid : null;
  } catch {
    return null;
  }
}

/**
 * The start time of a process, as text that is only for comparison; null when the process has ended. The pid and this text
 * together identify a process. A process has ended also while its pid still exists because its parent has not waited for it (a zombie): the process 1
 * of many containers waits for none.
 */
export function startOf(pid: number): string | null {
  try {
    // Fields 3 and 22. Counted from the end of the name in brackets, which may contain any character.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return fields[0] === ZOMBIE ? null : (fields[19] ?? null);
  } catch {
    return startFromPs(pid);
  }
}

/**
 * `startOf` where there is no /proc. Without the state, which changes while the process lives. An option for each column: to the `ps` of BSD and macOS all that
 * follows the first `=` of an option is a title.
 */
export function startFromPs(pid: number): string | null {
  const ps = spawnSync("ps", ["-o", "stat=", "-o", "lstart=", "-p", String(pid)], { encoding: "utf8" });
  const [state = "", ...start] = ps.stdout.trim().split(/\s+/);
  return ps.status !== 0 || state.startsWith(ZOMBIE) ? null : start.join(" ");
}
