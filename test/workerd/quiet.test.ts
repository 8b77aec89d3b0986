/**
 * What happens on streams over which nothing is sent: keepalives, checks, and connections that close. Each test waits for
 * the product's own times, so all run at once, each on an edge of its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Scribe } from "../edge/world.ts";
import { startEdge, type Edge } from "./edge.ts";
import { Viewer } from "./sse.ts";

/** A keepalive is written after 15 s without an event, and the one after the next shows that a viewer has left. */
const LEFT_MS = 90_000;

const edges: Edge[] = [];
beforeAll(async () => {
  // One after the other: an edge finds its Postgres in the environment of this process.
  for (let i = 0; i < 3; i++) edges.push(await startEdge());
}, 120_000);
afterAll(() => Promise.all(edges.map((edge) => edge.stop())));

async function running(edge: Edge): Promise<Scribe> {
  const scribe = new Scribe(edge.world, await edge.start());
  await scribe.claim();
  return scribe;
}

const watch = ({ base, platformKey }: Edge, path: string, headers: Record<string, string> = {}) =>
  Viewer.open(base + path, { authorization: `Bearer ${platformKey}`, ...headers });
const streamOf = (run: string) => `/api/v2/orchestrations/runs/${run}/stream`;

describe.concurrent("a quiet stream", { timeout: 180_000 }, () => {
  test("shares one connection to Redis with all viewers of its shard, which closes with the last of them", async () => {
    const [edge] = edges;
    if (!edge) throw new Error("no edge");
    const scribe = await running(edge);
    const viewers = await Promise.all(Array.from({ length: 10 }, () => watch(edge, streamOf(scribe.run))));
    await scribe.text("a");
    await Promise.all(viewers.map((viewer) => viewer.until((v) => v.frames.length === 1)));
    expect(edge.redis.connections).toBeLessThanOrEqual(2);
    for (const viewer of viewers) viewer.leave();
    // The edge notices at the next write that a viewer has left.
    await scribe.text("b");
    await scribe.text("c");
    const none = () => expect([edge.redis.connections, edge.postgres.connections]).toEqual([0, 0]);
    // The connections to Postgres close after 20 s without a query.
    await vi.waitFor(none, { timeout: LEFT_MS, interval: 100 });
  });

  test("ends also when the live entry of its end is lost: silent viewers are checked every 15 s", async () => {
    const [, edge] = edges;
    if (!edge) throw new Error("no edge");
    const scribe = await running(edge);
    const viewer = await watch(edge, streamOf(scribe.run));
    await scribe.text("a");
    await viewer.until((v) => v.frames.length === 1);
    // By its first keepalive the relay follows the live stream: from then on only a check can find the end.
    await viewer.until(({ text }) => text.includes(": keepalive\n\n"), 45_000);
    await scribe.end(false);
    await viewer.end(45_000);
    expect(viewer.frames.map((frame) => frame.data.seq)).toEqual([1, 2, 3]);
  });

  test("of a tenant uses one connection until its viewer leaves; it ends with Postgres, and its last id resumes it", async () => {
    const [, , edge] = edges;
    if (!edge) throw new Error("no edge");
    /** Connections on which a feed has read in the last 3 seconds: a pooler may keep one that nothing uses. */
    const feeds = async (): Promise<number> => {
      const [row] = await edge.world.sql`
        select count(*)::int as n from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query like '%journal j%'
          and query_start > now() - interval '3 seconds'`;
      return Number(row?.n);
    };
    const scribe = await running(edge);
    const viewer = await watch(edge, "/api/v2/events/stream");
    await scribe.text("one", false);
    await viewer.until((v) => v.frames.length === 1);
    expect(await feeds()).toBe(1);

    edge.postgres.set("refuse");
    await viewer.end();
    edge.postgres.set("open");
    await scribe.text("two", false);
    const resumed = await watch(edge, "/api/v2/events/stream", {
      "last-event-id": viewer.frames[0]?.id ?? "",
    });
    await resumed.until((v) => v.frames.length === 2);
    expect(resumed.frames.map((frame) => frame.data.seq)).toEqual([1, 2]);

    resumed.leave();
    // A feed reads every second. On a loaded machine a late one looks as if it had ended, so it must stay away for long.
    const deadlineMs = performance.now() + LEFT_MS;
    let lastReadMs = performance.now();
    while (performance.now() - lastReadMs < 6_000 && performance.now() < deadlineMs) {
      if ((await feeds()) > 0) lastReadMs = performance.now();
      await sleep(100);
    }
    expect(performance.now() - lastReadMs).toBeGreaterThanOrEqual(6_000);
  });
});
