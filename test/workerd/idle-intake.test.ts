import { pace } from "../services/waiting.ts";
import { afterAll, beforeAll, expect, test } from "vitest";
import { QUOTA_READY_AFTER_MS } from "../../shared/timing.ts";
import { makeQuotaReady } from "../shared/queue/rebuild-shard.ts";
import { startEdge, type Edge } from "./edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

/** The runtime ends an object 10 s after its last request and its last connection, which its pool closes after 20 s at most. */
const IDLE_MS = 36_000;

// Fails when the object does not record that the counts hold: each pause then costs every POST of the next 12 s a statement.
test("the queue's counts stay valid when the runtime ends an idle intake object", async () => {
  await edge.start();
  await makeQuotaReady(edge.stores.queue, 0, Date.now() + QUOTA_READY_AFTER_MS);
  await pace(IDLE_MS);
  await edge.start();
  expect(await edge.stores.queue.readIndex(0)).toMatchObject({ quotaReady: true });
});
