/** The intake's own connection to Redis, in the runtime that makes it. */
import { afterAll, beforeAll, test } from "vitest";
import { until } from "../services/waiting.ts";
import { startEdge, type Edge } from "./edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

async function isQueued(run: string): Promise<boolean> {
  const { jobs } = await edge.stores.queue.list(0, "0", 1_000);
  return jobs.some((job) => job.run === run);
}

// Fails when the intake reaches Redis over REST alone.
test("POSTs are admitted and queued over it while the REST front is away, and over REST while it is broken", async () => {
  await edge.start();
  await until("the intake has a connection", () => edge.redis.connections >= 1);
  await edge.stores.withoutRedis(async () => {
    const run = await edge.start();
    await until("its job is queued", () => isQueued(run));
  });
  edge.redis.set("refuse");
  const run = await edge.start();
  await until("its job is queued", () => isQueued(run));
});
