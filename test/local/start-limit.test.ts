/** How long `npm start` waits for a part that starts slowly, and what it says. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startProcess, untilReady } from "../../local/processes/child.ts";
import { isRunning } from "../../local/processes/pids.ts";
import { startUntilEvent } from "../../local/processes/programs.ts";
import { until } from "../services/waiting.ts";

let dir: string;
let messages: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "synapse-limit-"));
  messages = [];
  vi.spyOn(console, "error").mockImplementation((line) => void messages.push(String(line)));
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  rmSync(dir, { recursive: true, force: true });
});

const idle = { command: "/bin/sh", args: ["-c", "exec sleep 600"] };

// Fails when a part has less time than a busy machine needs (30 s were too few), or the error does not name the wait.
test("a program has 120 s to start; `npm start` names the awaited program after 15 s and at the end", async () => {
  const start = startUntilEvent("worker.ready", "worker-1", idle).catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(119_000);
  expect(messages).toEqual([
    "still waiting for worker-1 to start (its log event worker.ready) (15 s of at most 120 s)",
  ]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(await start).toEqual(new Error("waited 120 s for worker-1 to start (its log event worker.ready)"));
});

// Fails when a store has less time, or its error does not say that it never answered.
test("a store has 120 s to answer, and is ended when it does not", async () => {
  const child = startProcess(idle, join(dir, "log"), "SIGTERM");
  let probes = 0;
  const probe = async (): Promise<never> => {
    probes += 1;
    return Promise.reject(new Error("connection refused"));
  };
  const ready = untilReady(child, join(dir, "log"), probe).catch((error: unknown) => error);
  await vi.advanceTimersByTimeAsync(119_000);
  const before = probes;
  await until("the store is still probed", () => probes > before);
  expect(messages).toEqual(["still waiting for /bin/sh to answer (15 s of at most 120 s)"]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(String(await ready)).toContain("/bin/sh did not start: it did not answer within 120 s");
  expect(isRunning(child.pid ?? 0)).toBe(false);
});
