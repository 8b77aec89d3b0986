import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, expect, test } from "vitest";
import { z } from "zod";
import { freePort } from "../../local/processes/free-ports.ts";
import { untilProgramsAreBuilt } from "../services/built-worker.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-npm-start-"));
const port = await freePort(0);
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

/** Starts a script of package.json with the data in `dir`. Call `stop` in any case. */
function npm(script: string): { untilLine(text: string): Promise<void>; stop(): Promise<void> } {
  const child = spawn("npm", ["run", script, "--", "--data", dir, "--port", String(port)], {
    cwd: new URL("../..", import.meta.url),
    detached: true,
    stdio: ["ignore", "pipe", "ignore"],
  });
  const exited = once(child, "exit");
  const group = child.pid ?? 0;
  expect(group).toBeGreaterThan(0);
  const lines = createInterface(child.stdout);
  return {
    async untilLine(text) {
      const { promise, resolve } = Promise.withResolvers<void>();
      lines.on("line", (line) => line.includes(text) && resolve());
      await Promise.race([
        promise,
        exited.then(() => Promise.reject(new Error(`npm run ${script} ended early`))),
      ]);
    },
    async stop() {
      try {
        child.kill("SIGTERM");
        await exited;
        await expect.poll(() => isGroupAlive(group)).toBe(false);
      } finally {
        if (isGroupAlive(group)) process.kill(-group, "SIGKILL");
      }
    },
  };
}

// Fails when only the shell that npm started ends at the signal: npm passes SIGTERM to its shell, which ends without its child.
// After a `kill`, or a process manager's stop, the whole system would still run.
test("a SIGTERM to npm ends the system that npm start began", async () => {
  await untilProgramsAreBuilt();
  const start = npm("start");
  // The stores are running, and the rest is being started.
  try {
    await start.untilLine("redis_rest.listening");
  } finally {
    await start.stop();
  }
});

// Fails when the edge of wrangler dev has none of its variables: it serves 500 for ever, and the start never completes.
test("npm run dev with a data folder of its own serves the API with the key of that folder", async () => {
  const dev = npm("dev");
  try {
    await dev.untilLine("synapse-edge is running");
    const { api_base, api_key } = z
      .object({ api_base: z.string(), api_key: z.string() })
      .parse(JSON.parse(readFileSync(join(dir, "dev.json"), "utf8")));
    const { status } = await fetch(`${api_base}/api/v2/orchestrations`, {
      headers: { Authorization: `Bearer ${api_key}` },
    });
    expect(status).toBe(200);
  } finally {
    await dev.stop();
  }
});
