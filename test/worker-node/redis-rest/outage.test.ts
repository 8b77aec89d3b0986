/** Redis goes and comes back: an error at once, never a wait, and everything works again by itself. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { startRedis } from "../../services/services.ts";
import { fastestMs } from "../../services/fastest.ts";
import { newKey, startFront, until, type Front } from "./front.ts";

let redis: Service;
let front: Front;
beforeAll(async () => {
  redis = await startRedis();
  front = await startFront(redis.url);
});
afterAll(async () => {
  await front.stop();
  await redis.stop();
});

const away = { error: "ERR redis is not reachable, try again" };

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; ms: number }> {
  const start = performance.now();
  return { value: await work(), ms: performance.now() - start };
}

describe("while Redis is away", () => {
  test("every route says 503 in under a second, and all works again when it is back", async () => {
    const stream = await fetch(`${front.url}/subscribe/news`, {
      headers: { authorization: `Bearer ${front.token}`, accept: "text/event-stream" },
    });
    await redis.stop();
    const routes: [string, unknown][] = [
      ["/", ["GET", "k"]],
      [
        "/pipeline",
        [
          ["GET", "k"],
          ["GET", "j"],
        ],
      ],
      ["/multi-exec", [["GET", "k"]]],
      ["/get/k", undefined],
    ];
    for (const [path, body] of routes) {
      const tookMs = await fastestMs(1_000, async () => {
        const { status, json } = await front.call(path, body);
        expect([path, status, json]).toEqual([path, 503, away]);
      });
      expect(tookMs).toBeLessThan(1_000);
    }
    const listening = { headers: { authorization: `Bearer ${front.token}`, accept: "text/event-stream" } };
    expect((await front.call("/subscribe/other", undefined, listening)).status).toBe(503);
    expect((await front.call("/", ["GET", "k"], { headers: {} })).status).toBe(401);

    await until(async () => front.events.length > 0);
    redis = await startRedis(redis.port);
    await until(async () => (await front.call("/ping")).status === 200);
    expect(front.events).toEqual(["redis_away", "redis_back"]);
    expect(
      (
        await front.call("/multi-exec", [
          ["SET", "k", "v"],
          ["GET", "k"],
        ])
      ).status,
    ).toBe(200);

    // The stream that was open all the time hears again.
    const publisher = new Redis(redis.url);
    await until(async () => (await publisher.publish("news", "back")) === 1);
    publisher.disconnect();
    const reader = stream.body?.getReader();
    let text = "";
    await until(async () => {
      text += new TextDecoder().decode((await reader?.read())?.value);
      return text.includes("data: message,news,back");
    });
    await reader?.cancel();
  });

  test("a write is refused at once, and is not done later", async () => {
    const key = newKey();
    await redis.stop();
    // By then the client waits up to a second between its attempts: time enough for a queue to show.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const tookMs: number[] = [];
    for (let i = 0; i < 5; i++) {
      const { value, ms } = await timed(() => front.call("/", ["INCR", key]));
      expect(value.status).toBe(503);
      tookMs.push(ms);
    }
    // A queue would keep each of them for the front's own time, most of a second.
    expect(Math.min(...tookMs)).toBeLessThan(200);
    redis = await startRedis(redis.port);
    await until(async () => (await front.call("/ping")).status === 200);
    expect((await front.call("/", ["EXISTS", key])).json).toEqual({ result: 0 });
  });

  test("a command that was in flight when it went is answered at once", async () => {
    // Without an answer the front would give the command up after most of a second.
    let fastest = Infinity;
    for (let tries = 0; tries < 5 && fastest >= 500; tries++) {
      const stopper = new Redis(redis.url);
      await stopper.call("CLIENT", "PAUSE", "60000", "ALL");
      stopper.disconnect();
      const inFlight = timed(() => front.call("/", ["GET", "k"]));
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (redis.pid !== null) process.kill(redis.pid, "SIGKILL");
      const { value, ms } = await inFlight;
      expect(value.status).toBe(503);
      fastest = Math.min(fastest, ms);
      await redis.stop();
      redis = await startRedis(redis.port);
      await until(async () => (await front.call("/ping")).status === 200);
    }
    expect(fastest).toBeLessThan(500);
  });

  test("the SDK with one retry learns of it in under a second", async () => {
    const sdk = front.sdk({ retry: { retries: 1, backoff: () => 50 } });
    await redis.stop();
    const tookMs = await fastestMs(1_000, () =>
      expect(sdk.get("k")).rejects.toThrow("ERR redis is not reachable"),
    );
    expect(tookMs).toBeLessThan(1_000);
    redis = await startRedis(redis.port);
    await until(async () => (await front.call("/ping")).status === 200);
  });
});

describe("a Redis that is there and does not answer", () => {
  test("is a 503 in about a second, and what it answers late goes to nobody else", async () => {
    const key = newKey();
    await front.call("/", ["SET", key, "mine"]);
    const stopper = new Redis(redis.url);
    await stopper.call("CLIENT", "PAUSE", "3000", "ALL");
    stopper.disconnect();
    const { value, ms } = await timed(() => front.call("/", ["GET", key]));
    expect([value.status, value.json]).toEqual([503, away]);
    expect(ms).toBeGreaterThan(500);
    // Before Redis goes on, which would answer it.
    expect(ms).toBeLessThan(2_900);
    await until(async () => (await front.call("/ping")).status === 200);
    expect((await front.call("/", ["ECHO", "next"])).json).toEqual({ result: "next" });
  });
});

describe("a front that starts before its Redis", () => {
  test("listens, says 503, and serves as soon as Redis is there", async () => {
    await redis.stop();
    const early = await startFront(redis.url);
    expect((await early.call("/ping")).status).toBe(503);
    redis = await startRedis(redis.port);
    await until(async () => (await early.call("/ping")).status === 200);
    await early.stop();
  });
});
