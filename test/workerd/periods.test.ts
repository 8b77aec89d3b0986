/** What an edge does after a quarter or half of a minute. The tests wait for its real periods, so they run at the same time. */
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { text as textOf } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeJournalWriter } from "../edge/test-stores.ts";
import { Viewer } from "../services/viewer.ts";
import { until } from "../services/waiting.ts";
import { startEdge, type Edge } from "./edge.ts";
import { answerOfStopped } from "./stopped-request.ts";

const MIB = 1024 * 1024;

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

describe.concurrent("at an edge", () => {
  test("a quiet stream of a run ends also when the live entry of its end is lost: silent viewers are checked every 15 s", async () => {
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

  test("a quiet stream of a tenant ends when its viewer has left", async () => {
    resumed.leave();
    // The edge notices at a keepalive that the viewer has left: at the second one, 30 s later, at the latest.
    // A feed reads every second. On a loaded machine it may be late, so it counts as ended only after several seconds.
    let lastReadMs = performance.now();
    await until("no feed has read for 6 s", async () => {
      if ((await feeds()) > 0) lastReadMs = performance.now();
      return performance.now() - lastReadMs >= 6_000;
    });
  });

  // The edge reads in the upload's row, every 30 s, that the upload was given up. Fails when the reason for which the edge stops is answered as a
  // body that ended early.
  test("an upload that is given up while its client sends it is a 408 at its next part", async () => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const sent = request(`${edge.base}/api/v2/uploads?tenant_id=slow`, {
      method: "POST",
      headers: { authorization: `Bearer ${edge.platformKey}`, "content-length": String(200 * MIB) },
    });
    sent.on("error", reject).on("response", resolve);
    let isAnswered = false;
    const answer = promise.finally(() => (isAnswered = true));
    const send = () => void (sent.writableNeedDrain || sent.write("x".repeat(MIB / 4)));
    send();
    await until("the upload has begun and is given up", async () => {
      const rows = await edge.stores.sql`
        delete from uploads where tenant_id = 'slow' and stored_at is null returning upload_id`;
      return rows.length > 0;
    });
    await until("its next part is answered", () => (send(), isAnswered));
    const { statusCode } = await answer;
    expect([statusCode, await textOf(await answer)]).toEqual([408, expect.stringContaining("send it again")]);
    sent.destroy();
  });

  // Fails when a client with a valid key holds its request for ever: in workerd no signal ends a read that is under way.
  test("a client with a valid key that stops in its body gets a 408, and its connection ends", async () => {
    const head = [
      "host: edge",
      "content-type: application/json",
      `authorization: Bearer ${edge.platformKey}`,
    ];
    const lengths = ["content-length: 1000", "content-length: 1000000", "transfer-encoding: chunked"];
    const run = "/api/v2/orchestrations/orch_smoke/run";
    const answers = await Promise.all(lengths.map((length) => answerOfStopped(edge, run, [...head, length])));
    for (const answer of answers) {
      expect(answer).toMatch(/^HTTP\/1.1 408 /);
      expect(answer.toLowerCase()).toContain("connection: close");
    }
  });
});
