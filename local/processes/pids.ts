/** What can be known of a process by its number. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Whether a process with this number exists (whoever it is: numbers are used again). */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** Its command line with blanks between the words, or "" when it is gone. */
export function commandLineOf(pid: number): string {
  const ps = spawnSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" });
  if (ps.status === 0) return ps.stdout.trim();
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

/** The number at the start of a pid file, or null when there is none. */
export function readPid(file: string): number | null {
  try {
    const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
    return pid > 1 ? pid : null;
  } catch {
    return null;
  }
}

/** When it started, as text that only compares; null when it is gone. With the number it names a process for ever. */
export function startOf(pid: number): string | null {
  try {
    // Field 22, counted after the name in brackets, which may hold anything.
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ")[19] ?? null;
  } catch {
    const ps = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" });
    return ps.status === 0 ? ps.stdout.trim() : null;
  }
}
