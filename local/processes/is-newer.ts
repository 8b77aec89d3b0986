/** Whether a build is newer than its sources. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Whether `built` exists and is newer than all of `sources`, which are files and folders. */
export function isNewerThan(built: string, sources: readonly string[]): boolean {
  if (!existsSync(built)) return false;
  const builtMs = statSync(built).mtimeMs;
  return sources.every((path) => newestMs(path) < builtMs);
}

function newestMs(path: string): number {
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(stat.mtimeMs, ...readdirSync(path).map((name) => newestMs(join(path, name))));
}
