import { once } from "node:events";
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import { json } from "node:stream/consumers";
import { inspect } from "node:util";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { readConfig } from "../../../edge/env.ts";
import { EdgeQueue } from "../../../edge/runs/admit.ts";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import { REDIS_REQUEST_MS } from "../../../shared/timing.ts";
import { toRestError } from "../../../worker-node/redis-rest/rest-error.ts";

/** A queue behind a REST front with this listener. */
async function queueOver(listener: RequestListener): Promise<EdgeQueue> {
  const front = createServer(listener).listen(0, "127.0.0.1");
  await once(front, "listening");
  onTestFinished(() => void (front.closeAllConnections(), front.close()));
  const address = front.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return new EdgeQueue(
    readConfig({
      UPSTASH_REDIS_REST_URL: `http://127.0.0.1:${address.port}`,
      UPSTASH_REDIS_REST_TOKEN: "token",
      REDIS_URL: "redis://127.0.0.1",
      STREAM_TOKEN_SECRET: "a-secret-for-stream-tokens",
    }),
  );
}
const job = () => ({ run: newRunId(Date.now()), tenant: TenantId.parse("acme") });

// Fails when each reply that begins with ERR counts as a fault of ours: runs would be 500 for as long as the Redis is full.
test.each([
  "ERR DB capacity quota exceeded. Limit: 268435456, Usage: 268435999",
  "ERR max requests limit exceeded. Limit: 500000, Usage: 500000",
  "ERR READONLY You can't write against a read only replica",
  "OOM command not allowed when used memory > 'maxmemory'",
  // Of our REST front, whose connection other clients may use too.
  toRestError(new RangeError("Maximum call stack size exceeded")).message,
  toRestError(new Error("Command timed out")).message,
  toRestError(new Error("Connection is closed.")).message,
])("a Redis that refuses all writes, or sends no reply, is away: %s", async (error) => {
  const queue = await queueOver((_request, response) => {
    response.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify({ error }));
  });
  await expect(queue.admit([job()], 10)).rejects.toMatchObject({ code: "redis_away" });
});

// Fails when the client's error is judged by the command that it quotes: the script and the tenant's name hold such words, so every POST was
// a 500 while Redis was a replica.
test("a refusal is judged, and logged, by the words of Redis and not by those of the command", async () => {
  const reply = (command: unknown) =>
    command === "evalsha" ? "NOSCRIPT No matching script" : "READONLY You can't write against a replica";
  const queue = await queueOver((request, response) => {
    void json(request).then((body) => {
      const [command] = z.array(z.unknown()).parse(body);
      response.writeHead(400).end(JSON.stringify({ error: reply(command) }));
    });
  });
  const run = { run: newRunId(Date.now()), tenant: TenantId.parse("WRONGTYPE") };
  const thrown: unknown = await queue.admit([run], 10).catch((error: unknown) => error);
  expect(thrown).toMatchObject({ code: "redis_away" });
  expect(inspect(thrown)).toContain("READONLY You can't write against a replica");
  expect(inspect(thrown)).not.toContain("WRONGTYPE");
});

// Fails when every request waits for a Redis that has just timed out.
test("commands fail at once after a timeout, and reach Redis again after 2 s", async () => {
  let requests = 0;
  const queue = await queueOver(() => void (requests += 1));
  const admit = async (): Promise<void> => {
    await expect(queue.admit([job()], 10)).rejects.toMatchObject({ code: "redis_away" });
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
