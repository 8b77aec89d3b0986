import { once } from "node:events";
import { createServer } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { readConfig } from "../../../edge/env.ts";
import { EdgeQueue } from "../../../edge/runs/admit.ts";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";

// Fails when every request waits for a Redis that has just timed out.
test("commands fail at once after a timeout, and reach Redis again after 2 s", async () => {
  let requests = 0;
  const front = createServer(() => void (requests += 1)).listen(0, "127.0.0.1");
  await once(front, "listening");
  onTestFinished(() => void (front.closeAllConnections(), front.close()));
  const address = front.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const config = readConfig({
    UPSTASH_REDIS_REST_URL: `http://127.0.0.1:${address.port}`,
    UPSTASH_REDIS_REST_TOKEN: "token",
    REDIS_URL: "redis://127.0.0.1",
    STREAM_TOKEN_SECRET: "a-secret-for-stream-tokens",
  });
  const queue = new EdgeQueue(config);
  const admit = async (): Promise<number> => {
    const startedMs = performance.now();
    const tenant = TenantId.parse("acme");
    const verdict = queue.admit([{ run: newRunId(Date.now()), tenant }], 10);
    await expect(verdict).rejects.toMatchObject({ code: "redis_away" });
    return performance.now() - startedMs;
  };
  expect(await admit()).toBeGreaterThan(1_000);
  const before = requests;
  const tookMs: number[] = [];
  for (let i = 0; i < 20; i++) tookMs.push(await admit());
  expect(tookMs.toSorted((a, b) => a - b)[10]).toBeLessThan(500);
  expect(requests).toBe(before);
  await expect.poll(async () => (await admit(), requests), { timeout: 100_000 }).toBeGreaterThan(before);
}, 60_000);
