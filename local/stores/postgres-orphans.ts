/** What a killed Postgres leaves behind. */
import { readdirSync, readlinkSync, realpathSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { commandLineOf } from "../processes/pids.ts";

/** Milliseconds. */
const patienceMs = 4_000;

/**
 * Ends the backends in `data` whose postmaster was killed. They would end by themselves, but each only after its query,
 * and until the last one has let go of the shared memory no Postgres starts on that data (seen: 112 s and still not).
 * With -9, because a crash recovery follows in any case. Without /proc (macOS) the start is refused until they end.
 */
export async function endBackendsOf(data: string): Promise<void> {
  const folder = realpathSync(data);
  for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += 50) {
    const left = backendsIn(folder);
    if (left.length === 0) return;
    for (const pid of left) kill(pid);
    await sleep(50);
  }
}

/** A backend works in the data folder and is called `postgres: …`. */
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
    return null; // gone, or another user's
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // gone meanwhile
  }
}
