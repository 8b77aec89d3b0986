import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, expect, test } from "vitest";
import { freePort } from "../../local/processes/free-ports.ts";
import { untilProgramsAreBuilt } from "../services/built-worker.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-npm-start-"));
chmodSync(dir, 0o711); // under root another user runs Postgres, and must be able to enter this folder
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Whether a process of this group is alive. */
function isGroupAlive(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch {
    return false;
  }
}

// Fails when only the shell that npm started ends at the signal: npm passes SIGTERM to its shell, which ends without its child.
// After a `kill`, or a process manager's stop, the whole system would still run.
test("a SIGTERM to npm ends the system that npm start began", async () => {
  await untilProgramsAreBuilt();
  const npm = spawn("npm", ["start", "--", "--data", dir, "--port", String(await freePort(0))], {
    cwd: new URL("../..", import.meta.url),
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const group = npm.pid ?? 0;
  expect(group).toBeGreaterThan(0);
  try {
    // The stores are running, and the rest is being started.
    const { promise: begun, resolve } = Promise.withResolvers<void>();
    createInterface(npm.stdout).on("line", (line) => line.includes("redis_rest.listening") && resolve());
    await Promise.race([
      begun,
      once(npm, "exit").then(() => Promise.reject(new Error("npm start ended early"))),
    ]);
    npm.kill("SIGTERM");
    await once(npm, "exit");
    await expect.poll(() => isGroupAlive(group)).toBe(false);
  } finally {
    if (isGroupAlive(group)) process.kill(-group, "SIGKILL");
  }
});
