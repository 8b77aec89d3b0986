/** Facts about a process by its pid. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Whether a process with this pid exists. It may be another one than expected: pids are reused. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
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
 * together identify a process.
 */
export function startOf(pid: number): string | null {
  try {
    // Field 22. Counted from the end of the name in brackets, which may contain any character.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[19] ?? null;
  } catch {
    const ps = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" });
    return ps.status === 0 ? ps.stdout.trim() : null;
  }
}
