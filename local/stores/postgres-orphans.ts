/** Ends the processes that a killed Postgres leaves behind. */
import { readdirSync, readlinkSync, realpathSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { commandLineOf } from "../processes/pids.ts";

const timeoutMs = 4_000;

/**
 * Ends the backends in `data` whose postmaster was killed, within 4 s. Each would end by itself only after its query, and no Postgres
 * starts on that data while a backend has its shared memory (seen: still after 112 s). It uses SIGKILL, because a crash recovery
 * follows in any case. Without /proc (macOS) the backends are not found, and starts fail until they have ended.
 */
export async function endBackendsOf(data: string): Promise<void> {
  const folder = realpathSync(data);
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += 50) {
    const backends = backendsIn(folder);
    if (backends.length === 0) return;
    for (const pid of backends) kill(pid);
    await sleep(50);
  }
}

/** A backend's working folder is the data folder, and its command line begins with `postgres: `. */
function backendsIn(folder: string): number[] {
  return pids().filter(
    (pid) => workingFolderOf(pid) === folder && commandLineOf(pid).startsWith("postgres: "),
  );
}

function pids(): number[] {
  try {
    return readdirSync("/proc").map(Number).filter(Number.isInteger);
  } catch {
    return [];
  }
}

function workingFolderOf(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return null; // it has ended, or belongs to another user
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}
