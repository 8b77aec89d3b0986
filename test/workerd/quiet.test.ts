/** Streams without events. The tests wait for real keepalives and checks (15 s and more), so they run concurrently. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeJournalWriter } from "../edge/test-stores.ts";
import { startEdge, type Edge } from "./edge.ts";
import { Viewer } from "../services/viewer.ts";
import { until } from "../services/waiting.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());

async function running(): Promise<FakeJournalWriter> {
  const writer = new FakeJournalWriter(edge.stores, await edge.start());
  await writer.claim();
  return writer;
}

const watch = (path: string, headers: Record<string, string> = {}) =>
  Viewer.open(edge.base + path, { authorization: `Bearer ${edge.platformKey}`, ...headers });
const watchFeed = (headers: Record<string, string> = {}) => watch("/api/v2/events/stream", headers);

/** Connections on which feeds have read in the last 3 seconds: a pooler may keep one that nothing uses. */
async function feeds(): Promise<number> {
  const [row] = await edge.stores.sql`
    select count(*)::int as n from pg_stat_activity
    where datname = current_database() and query like '%from journal j%' and query not like '%pg_stat_activity%'
      and query_start > now() - interval '3 seconds'`;
  return Number(row?.n);
}

/** The viewer of the only feed. */
let resumed: Viewer;

test("the feed of a tenant uses one connection; it ends when Postgres goes away, and its last id resumes it", async () => {
  const writer = await running();
  const viewer = await watchFeed();
  await writer.text("one", false);
  await viewer.until((v) => v.frames.length === 1);
  expect(await feeds()).toBe(1);
  edge.postgres.set("refuse");
  await viewer.end();
  edge.postgres.set("open");
  await writer.text("two", false);
  resumed = await watchFeed({ "last-event-id": viewer.frames[0]?.id ?? "" });
  await resumed.until((v) => v.frames.length === 2);
  expect(resumed.frames.map((frame) => frame.data.seq)).toEqual([1, 2]);
});

describe.concurrent("a quiet stream", () => {
  test("of a run ends also when the live entry of its end is lost: silent viewers are checked every 15 s", async () => {
    const writer = await running();
    const viewer = await watch(`/api/v2/orchestrations/runs/${writer.run}/stream`);
    await writer.text("a");
    await viewer.until((v) => v.frames.length === 1);
    // By its first keepalive the relay follows the live stream: from then on only a check can find the end.
    await viewer.until(({ text }) => text.includes(": keepalive\n\n"), 45_000);
    await writer.end(false);
    await viewer.end(45_000);
    expect(viewer.frames.map((frame) => frame.data.seq)).toEqual([1, 2, 3]);
  });

  test("of a tenant ends when its viewer has left", async () => {
    resumed.leave();
    // The edge notices at a keepalive that the viewer has left: at the second one, 30 s later, at the latest.
    // A feed reads every second. On a loaded machine it may be late, so it counts as ended only after several seconds.
    let lastReadMs = performance.now();
    await until("no feed has read for 6 s", async () => {
      if ((await feeds()) > 0) lastReadMs = performance.now();
      return performance.now() - lastReadMs >= 6_000;
    });
  });
});
