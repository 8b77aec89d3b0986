import { createHmac } from "node:crypto";
import { z } from "zod";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { STATE_SECRET, FakeJournalWriter } from "../edge/test-stores.ts";
import { VIEWER_CHECK_MS } from "../../shared/timing.ts";
import { startEdge, type Edge } from "./edge.ts";
import { Viewer } from "../services/viewer.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge(2);
});
afterAll(() => edge.stop());
afterEach(() => {
  edge.redis.set("open");
  edge.postgres.set("open");
});

/** Disconnects the edge from Postgres, just after the edge has used it. */
async function disconnectPostgres(mode: "refuse" | "hang"): Promise<void> {
  edge.postgres.set("open");
  await edge.start();
  edge.postgres.set(mode);
}

const StreamToken = z.object({
  token: z.string(),
  stream_url: z.string(),
  expires_at: z.iso.datetime(),
});

const path = (run: string, rest = "stream") => `/api/v2/orchestrations/runs/${run}/${rest}`;

const watch = (run: string, headers: Record<string, string> = {}) =>
  Viewer.open(edge.base + path(run), { authorization: `Bearer ${edge.platformKey}`, ...headers });

const seqs = (viewer: Viewer) => viewer.frames.map((frame) => frame.data.seq);

async function running(): Promise<FakeJournalWriter> {
  const writer = new FakeJournalWriter(edge.stores, await edge.start());
  await writer.claim();
  return writer;
}

describe("a run's stream", () => {
  test("begins with retry, sends earlier and live events, and ends after done", async () => {
    const writer = await running();
    await writer.text("before");
    const viewer = await watch(writer.run);
    await viewer.until((v) => v.frames.length === 1);
    await writer.text("live");
    await viewer.until((v) => v.frames.length === 2);
    await writer.end();
    await viewer.end();
    expect(viewer.text.startsWith("retry: 1000\n\n")).toBe(true);
    expect(seqs(viewer)).toEqual([1, 2, 3, 4]);
    expect(viewer.frames.map((frame) => frame.id)).toEqual(
      [1, 2, 3, 4].map((n) => `${writer.run.slice(-13)}-${n}`),
    );
    expect(viewer.frames.at(-1)?.data.type).toBe("done");
  });

  test("can be opened before a worker has claimed the run", async () => {
    const run = await edge.start();
    const viewer = await watch(run);
    const writer = new FakeJournalWriter(edge.stores, run);
    await writer.claim();
    await writer.end();
    await viewer.end();
    expect(seqs(viewer)).toEqual([1, 2]);
  });

  test("has the headers of server-sent events", async () => {
    const writer = await running();
    for (const ends of [false, true]) {
      if (ends) await writer.end();
      const answer = await edge.call("GET", path(writer.run));
      expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
      expect(answer.headers.get("cache-control")).toBe("no-cache, no-transform");
      expect(answer.headers.get("x-accel-buffering")).toBe("no");
      expect(answer.headers.get("x-request-id")).toMatch(/^req_/);
      expect(answer.headers.get("access-control-allow-origin")).toBe("*");
      await answer.body?.cancel();
    }
  });

  test("resumes after Last-Event-ID with the same bytes, while the run is running and after its end", async () => {
    const writer = await running();
    const whole = await watch(writer.run);
    for (const text of ["a", "b", "c", "d"]) await writer.text(text);
    await whole.until((v) => v.frames.length === 4);
    const from = (n: number) => ({ "last-event-id": `${writer.run.slice(-13)}-${n}` });
    const middle = await watch(writer.run, from(2));
    await middle.until((v) => v.frames.length === 2);
    await writer.end();
    await Promise.all([whole.end(), middle.end()]);
    expect(middle.frames).toEqual(whole.frames.slice(2));
    const late = await watch(writer.run, from(1));
    await late.end();
    expect(late.frames).toEqual(whole.frames.slice(1));
    expect((await watch(writer.run, from(6))).status).toBe(204);
    expect((await watch(writer.run, from(999))).status).toBe(204);
  });

  test("is the same for 50 viewers that connect while events are written", async () => {
    const writer = await running();
    const viewers: Viewer[] = [];
    for (let i = 0; i < 50; i++) {
      if (i % 5 === 0) await writer.text(`text ${i}`);
      viewers.push(await watch(writer.run));
    }
    await writer.end();
    await Promise.all(viewers.map((viewer) => viewer.end()));
    for (const viewer of viewers)
      expect(viewer.text.replaceAll(": keepalive\n\n", "")).toBe(viewers[0]?.text);
    expect(seqs(viewers[49] ?? viewers[0]!)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  test("has every event although a live entry was lost: the next entry shows the gap", async () => {
    const writer = await running();
    const viewer = await watch(writer.run);
    await writer.text("a");
    await viewer.until((v) => v.frames.length === 1);
    await writer.text("lost", false);
    await writer.text("c");
    await viewer.until((v) => v.frames.length === 3);
    expect(seqs(viewer)).toEqual([1, 2, 3]);
    await writer.end();
    await viewer.end();
  });

  test("continues from Postgres while Redis is unreachable, and live when Redis is back", async () => {
    const writer = await running();
    const viewer = await watch(writer.run);
    await writer.text("a");
    await viewer.until((v) => v.frames.length === 1);
    edge.redis.set("refuse");
    await writer.text("b");
    await viewer.until((v) => v.frames.length === 2, VIEWER_CHECK_MS);
    edge.redis.set("open");
    await writer.text("c");
    await writer.end();
    await viewer.end();
    expect(seqs(viewer)).toEqual([1, 2, 3, 4, 5]);
  });

  test("continues when Redis has lost the live stream", async () => {
    const writer = await running();
    const viewer = await watch(writer.run);
    await writer.text("a");
    await viewer.until((v) => v.frames.length === 1);
    await edge.stores.redis.del("{e0}:live", "{e1}:live");
    // The new stream's ids are below the relay's cursor.
    await edge.stores.redis.xadd("{e0}:live", "1-1", "x", "y");
    await edge.stores.redis.xadd("{e1}:live", "1-1", "x", "y");
    await writer.text("b");
    await writer.end();
    await viewer.end();
    expect(seqs(viewer)).toEqual([1, 2, 3, 4]);
  });

  test("asks the viewer to reconnect, with status 200, when Postgres is unreachable at the start", async () => {
    const writer = await running();
    await watch(writer.run).then((viewer) => viewer.leave());
    for (const mode of ["refuse", "hang"] as const) {
      await disconnectPostgres(mode);
      const viewer = await watch(writer.run);
      await viewer.end();
      expect([mode, viewer.status, viewer.text]).toEqual([mode, 200, "retry: 1000\n\n"]);
      edge.postgres.set("open");
    }
  });

  test("continues after Postgres was unreachable for a time", async () => {
    const writer = await running();
    const viewer = await watch(writer.run);
    await writer.text("a");
    await viewer.until((v) => v.frames.length === 1);
    edge.postgres.set("refuse");
    await writer.text("b", false);
    await writer.text("c");
    edge.postgres.set("open");
    await viewer.until((v) => v.frames.length === 3, VIEWER_CHECK_MS);
    await writer.end();
    await viewer.end();
    expect(seqs(viewer)).toEqual([1, 2, 3, 4, 5]);
  });
});

describe("a stream token", () => {
  test("opens the stream of its run and nothing else", async () => {
    const writer = await running();
    const made = await edge.call("POST", path(writer.run, "stream-token"));
    expect(made.status).toBe(201);
    const { token, stream_url, expires_at } = StreamToken.parse(await made.json());
    expect(Date.parse(expires_at) - Date.now()).toBeGreaterThan(6.9 * 24 * 3_600_000);
    const viewer = await Viewer.open(edge.base + stream_url);
    await writer.end();
    await viewer.end();
    expect(seqs(viewer)).toEqual([1, 2]);
    const other = await edge.start();
    expect((await fetch(`${edge.base}${path(other)}?token=${token}`)).status).toBe(404);
    expect((await fetch(`${edge.base}${path(writer.run, "status")}?token=${token}`)).status).toBe(401);
    expect((await fetch(`${edge.base}${path(writer.run)}?token=${token}x`)).status).toBe(401);
    expect((await fetch(`${edge.base}${path(writer.run)}?token=${edge.platformKey}`)).status).toBe(200);
  });

  test("expires an hour after its run's end", async () => {
    const writer = await running();
    const made = await edge.call("POST", path(writer.run, "stream-token"));
    const { stream_url } = StreamToken.parse(await made.json());
    await writer.end();
    const base = new URL(edge.base + stream_url);
    expect((await fetch(base)).status).toBe(200);
    const old = new URL(base);
    const [prefix, run, createdAt, keyId] = (old.searchParams.get("token") ?? "").split(".");
    const claim = `${prefix}.${run}.${Number(createdAt) - 7_200}.${keyId}`;
    const signature = createHmac("sha256", edge.stores.vars.STREAM_TOKEN_SECRET ?? "")
      .update(claim)
      .digest("hex");
    old.searchParams.set("token", `${claim}.${signature}`);
    expect((await fetch(old)).status).toBe(200);
    await edge.stores.sql`update runs set ended_at = now() - interval '2 hours' where run_id = ${writer.run}`;
    expect((await fetch(old)).status).toBe(401);
    expect((await fetch(base)).status).toBe(200);
  });
});

describe("a stream of several runs", () => {
  const watchRuns = (runs: string[], headers: Record<string, string> = {}) =>
    Viewer.open(`${edge.base}/api/v2/events/stream?runs=${runs.join(",")}`, {
      authorization: `Bearer ${edge.platformKey}`,
      ...headers,
    });

  test("sends all their events with the same data, resumes each run exactly, and ends with the last run", async () => {
    const scribes = [await running(), await running(), await running()];
    const runs = scribes.map((writer) => writer.run);
    const viewer = await watchRuns(runs);
    for (const text of ["a", "b"]) for (const writer of scribes) await writer.text(text);
    await viewer.until((v) => v.frames.length === 6);
    const id = viewer.frames[3]?.id ?? "";
    const rest = await watchRuns(runs, { "last-event-id": id });
    await rest.until((v) => v.frames.length === 2);
    for (const writer of scribes) await writer.end();
    await Promise.all([viewer.end(), rest.end()]);
    expect(viewer.text.match(/retry: 1000/g)).toHaveLength(1);
    const texts = (v: Viewer) => v.frames.map((frame) => frame.text).toSorted();
    expect(texts(rest)).toEqual(
      viewer.frames
        .slice(4)
        .map((frame) => frame.text)
        .toSorted(),
    );
    for (const writer of scribes) {
      const own = await watch(writer.run);
      await own.end();
      const part = viewer.frames.filter((frame) => frame.data.run_id === writer.run);
      expect(part.map((frame) => frame.text)).toEqual(own.frames.map((frame) => frame.text));
    }
    const last = viewer.frames.at(-1)?.id ?? "";
    expect((await watchRuns(runs, { "last-event-id": last })).status).toBe(204);
    expect((await watchRuns(runs.slice(1), { "last-event-id": last })).status).toBe(400);
  });
});

describe("the internal route", () => {
  const callState = (
    verb: string,
    body: string,
    secret = STATE_SECRET,
    at = Math.floor(Date.now() / 1000),
  ) => {
    const sign = (text: string) => createHmac("sha256", secret).update(text).digest("hex");
    const where = `/internal/state/3/${verb}`;
    const [h1, v1] = [sign(`${at}.${where}.${Buffer.byteLength(body)}`), sign(`${at}.${verb}.${body}`)];
    const headers = {
      "content-type": "application/json",
      "x-synapse-signature": `t=${at},h1=${h1},v1=${v1}`,
    };
    return fetch(edge.base + where, { method: "POST", headers, body });
  };

  test("executes a worker's signed and recent call", async () => {
    const answer = await callState("takeLock", JSON.stringify(["a-lock", "me", 1000]));
    expect([answer.status, await answer.json()]).toEqual([200, true]);
  });

  test("refuses a call that is unsigned, old, of an unknown verb, or with wrong arguments", async () => {
    const body = JSON.stringify(["a-lock", "me", 1000]);
    expect((await callState("takeLock", body, "another secret of length")).status).toBe(401);
    expect(
      (await callState("takeLock", body, STATE_SECRET, Math.floor(Date.now() / 1000) - 120)).status,
    ).toBe(401);
    expect((await fetch(`${edge.base}/internal/state/3/takeLock`, { method: "POST", body })).status).toBe(
      401,
    );
    expect((await callState("dropEverything", "[]")).status).toBe(404);
    expect((await callState("takeLock", "[]")).status).toBe(422);
  });

  test("returns the SQLSTATE of a failed statement, and null when Postgres is unreachable", async () => {
    edge.postgres.set("refuse");
    const away = await callState("takeLock", JSON.stringify(["a-lock", "me", 1000]));
    expect([away.status, await away.json()]).toEqual([503, { sqlstate: null }]);
    edge.postgres.set("open");
    const failed = await callState("takeLock", JSON.stringify(["a-lock", "m\u0000e", 1000]));
    expect([failed.status, await failed.json()]).toEqual([503, { sqlstate: "22021" }]);
  });
});

test("while Postgres is unreachable, a request gets 503 database_away", async () => {
  const run = await edge.start();
  for (const mode of ["refuse", "hang"] as const) {
    for (const [method, where, body] of [
      ["GET", path(run, "status"), undefined],
      ["POST", "/api/v2/orchestrations/orch_smoke/run", {}],
    ] as const) {
      await disconnectPostgres(mode);
      const answer = await edge.call(method, where, { ...(body && { body }) });
      expect([mode, where, answer.status]).toEqual([mode, where, 503]);
      expect(answer.headers.get("retry-after")).toBe("2");
      expect(await answer.json()).toMatchObject({ code: "database_away" });
    }
    edge.postgres.set("open");
  }
});

test("the logs contain no API key", async () => {
  const run = await edge.start();
  await fetch(`${edge.base}${path(run, "status")}?token=${edge.platformKey}`);
  expect(edge.logs()).not.toContain(edge.platformKey);
});

// The last test: it waits until the edge has no connection left, which takes 20 s without a query.
test("viewers of a shard share one connection to Redis, which closes with the last of them", async () => {
  const writer = await running();
  const viewers = await Promise.all(Array.from({ length: 10 }, () => watch(writer.run)));
  await writer.text("a");
  await Promise.all(viewers.map((viewer) => viewer.until((v) => v.frames.length === 1)));
  expect(edge.redis.connections).toBeLessThanOrEqual(2);
  for (const viewer of viewers) viewer.leave();
  // The edge notices at the next write that a viewer has left.
  await writer.text("b");
  await writer.text("c");
  const none = () => expect([edge.redis.connections, edge.postgres.connections]).toEqual([0, 0]);
  await vi.waitFor(none, { timeout: 90_000, interval: 100 });
});
