import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeJournalWriter } from "../edge/test-stores.ts";
import { startEdge, type Edge } from "./edge.ts";
import { Viewer } from "../services/viewer.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

const watch = (headers: Record<string, string> = {}) =>
  Viewer.open(`${edge.base}/api/v2/events/stream`, {
    authorization: `Bearer ${edge.platformKey}`,
    ...headers,
  });

/** Connections with a feed's query in the last 3 seconds: a pooler may keep idle connections open. */
async function feedConnections(): Promise<number> {
  const [row] = await edge.stores.sql`
    select count(*)::int as n from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid() and query like '%journal j%' and query_start > now() - interval '3 seconds'`;
  return Number(row?.n);
}

test("a feed uses one connection until its viewer leaves; it ends when Postgres is unreachable, and resumes by its id", async () => {
  const scribe = new FakeJournalWriter(edge.stores, await edge.start());
  await scribe.claim();
  const viewer = await watch();
  await scribe.text("one", false);
  await viewer.until((v) => v.frames.length === 1);
  expect(await feedConnections()).toBe(1);

  edge.postgres.set("refuse");
  await viewer.end();
  edge.postgres.set("open");
  await scribe.text("two", false);
  const resumed = await watch({ "last-event-id": viewer.frames[0]?.id ?? "" });
  await resumed.until((v) => v.frames.length === 2);
  expect(resumed.frames.map((frame) => frame.data.seq)).toEqual([1, 2]);

  resumed.leave();
  // The edge sees that a viewer has left at its next write: the second keepalive at the latest. The long wait is
  // because a slow feed may look as if it had ended.
  const deadline = Date.now() + 60_000;
  let quietSince = Date.now();
  while (Date.now() - quietSince < 6_000 && Date.now() < deadline) {
    if ((await feedConnections()) > 0) quietSince = Date.now();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(Date.now() - quietSince).toBeGreaterThanOrEqual(6_000);
}, 80_000);
