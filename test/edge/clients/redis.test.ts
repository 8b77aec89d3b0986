import { once } from "node:events";
import { createServer } from "node:http";
import { expect, onTestFinished, test, vi } from "vitest";
import { readConfig } from "../../../edge/env.ts";
import { EdgeQueue } from "../../../edge/runs/admit.ts";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import { REDIS_REQUEST_MS } from "../../../shared/timing.ts";

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
  const admit = async (): Promise<void> => {
    const tenant = TenantId.parse("acme");
    const verdict = queue.admit([{ run: newRunId(Date.now()), tenant }], 10);
    await expect(verdict).rejects.toMatchObject({ code: "redis_away" });
  };
  // The clock stands still, so that the two seconds are over when the test says so.
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const first = admit();
  await expect.poll(() => requests).toBeGreaterThan(0);
  vi.setSystemTime(Date.now() + REDIS_REQUEST_MS);
  await first;
  const before = requests;
  for (let i = 0; i < 20; i++) await admit();
  expect(requests).toBe(before);
  vi.setSystemTime(Date.now() + 2_000);
  await expect.poll(async () => (await admit(), requests)).toBeGreaterThan(before);
});
