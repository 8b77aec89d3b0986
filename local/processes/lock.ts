/** The lock of a data folder: one `npm start` at a time uses it. */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { startOf } from "./pids.ts";

/**
 * Locks the folder for this process until the returned function is called.
 *
 * The lock file names the process that has the lock by pid and start time: after a kill -9 the file stays, and its pid may belong
 * to another process.
 * @throws Error that names that process, while it is running
 */
export function lockFolder(folder: string): () => void {
  const file = join(folder, "lock");
  const held = readLock(file);
  if (held !== null && startOf(held.pid) === held.start) {
    throw new Error(
      `Already running on ${folder} (process ${held.pid}). Stop that process, or choose another folder: npm start -- --data DIR`,
    );
  }
  if (held !== null) rmSync(file, { force: true });
  const lock = openSync(file, "wx", 0o600); // of two processes that start at once, one fails here
  writeSync(lock, `${process.pid}\n${startOf(process.pid)}\n`);
  closeSync(lock);
  return () => rmSync(file, { force: true });
}

function readLock(file: string): { pid: number; start: string } | null {
  try {
    const [pid = "", start = ""] = readFileSync(file, "utf8").split("\n");
    return { pid: Number(pid), start };
  } catch {
    return null;
  }
}
