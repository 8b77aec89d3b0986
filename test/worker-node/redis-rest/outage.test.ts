/** An outage of Redis: callers get an error at once and never wait, and the front recovers by itself. */
import { createServer } from "node:net";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { log } from "../../../shared/log.ts";
import { startRedis } from "../../services/services.ts";
import { newKey, startFront, type Front } from "./front.ts";
import { until } from "../../services/waiting.ts";

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

const unreachable = { error: "ERR redis is not reachable, try again" };

describe("while Redis is unreachable", () => {
  // The front's time limit for a command is longer than the test: a response comes because the front refuses at once.
  test("every route returns 503 at once, and works again after the outage", async () => {
    const [warn, info] = [vi.spyOn(log, "warn"), vi.spyOn(log, "info")];
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
      const { status, json } = await front.call(path, body);
      expect([path, status, json]).toEqual([path, 503, unreachable]);
    }
    const asStream = { headers: { authorization: `Bearer ${front.token}`, accept: "text/event-stream" } };
    expect((await front.call("/subscribe/other", undefined, asStream)).status).toBe(503);
    expect((await front.call("/", ["GET", "k"], { headers: {} })).status).toBe(401);

    await until("the outage is logged", () => warn.mock.calls.length > 0);
    redis = await startRedis(redis.port);
    await until("the front serves", async () => (await front.call("/ping")).status === 200);
    const logged = [...warn.mock.calls, ...info.mock.calls].map(([event]) => event);
    expect(logged).toEqual(["redis_rest.redis_disconnected", "redis_rest.redis_reconnected"]);
    vi.restoreAllMocks();
    expect(
      (
        await front.call("/multi-exec", [
          ["SET", "k", "v"],
          ["GET", "k"],
        ])
      ).status,
    ).toBe(200);

    // The stream that was open during the outage receives messages again.
    const publisher = new Redis(redis.url);
    await until(
      "the stream is subscribed again",
      async () => (await publisher.publish("news", "back")) === 1,
    );
    publisher.disconnect();
    const reader = stream.body?.getReader();
    let text = "";
    await until("the message has arrived", async () => {
      text += new TextDecoder().decode((await reader?.read())?.value);
      return text.includes("data: message,news,back");
    });
    await reader?.cancel();
  });

  test("a write fails at once, and is not executed later", async () => {
    const key = newKey();
    await redis.stop();
    // After six failed connections the client waits a second before the next, which would reveal a queue of commands.
    let connections = 0;
    const refusing = createServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    refusing.listen(redis.port, "127.0.0.1");
    await until("six connections have failed", () => connections >= 6);
    refusing.close();
    // A queue would hold each command until Redis is back.
    for (let i = 0; i < 5; i++) {
      const { status, json } = await front.call("/", ["INCR", key]);
      expect([status, json]).toEqual([503, unreachable]);
    }
    redis = await startRedis(redis.port);
    await until("the front serves", async () => (await front.call("/ping")).status === 200);
    expect((await front.call("/", ["EXISTS", key])).json).toEqual({ result: 0 });
  });

  test("a command in flight at the beginning of the outage fails at once", async () => {
    const stopper = new Redis(redis.url);
    await stopper.call("CLIENT", "PAUSE", "600000", "ALL");
    stopper.disconnect();
    const sent = vi.spyOn(Redis.prototype, "sendCommand");
    const inFlight = front.call("/", ["GET", "k"]);
    await expect.poll(() => sent.mock.calls.some(([{ name }]) => name.toLowerCase() === "get")).toBe(true);
    sent.mockRestore();
    if (redis.pid !== null) process.kill(redis.pid, "SIGKILL");
    // Without the closed connection the front would give the command up after ten minutes.
    expect((await inFlight).status).toBe(503);
    await redis.stop();
    redis = await startRedis(redis.port);
    await until("the front serves", async () => (await front.call("/ping")).status === 200);
  });

  test("the SDK with one retry gets the error at once", async () => {
    const sdk = front.sdk({ retry: { retries: 1, backoff: () => 50 } });
    await redis.stop();
    await expect(sdk.get("k")).rejects.toThrow("ERR redis is not reachable");
    redis = await startRedis(redis.port);
    await until("the front serves", async () => (await front.call("/ping")).status === 200);
  });
});

describe("a Redis that is slow", () => {
  const SLOW = "local n = 0 while redis.call('TIME')[1] - ARGV[1] < 2 do n = n + 1 end return 'done'";

  test("answers every command: the slow one and those that come meanwhile", async () => {
    const key = newKey();
    await front.call("/", ["SET", key, "1"]);
    const now = Math.floor(Date.now() / 1000);
    const slow = front.call("/", ["EVAL", SLOW, "0", String(now)]);
    const meanwhile = ["/", "/pipeline", "/multi-exec"].map((path) =>
      front.call(path, path === "/" ? ["INCR", key] : [["INCR", key]]),
    );
    expect((await slow).json).toEqual({ result: "done" });
    expect((await Promise.all(meanwhile)).map(({ status }) => status)).toEqual([200, 200, 200]);
    expect((await front.call("/", ["GET", key])).json).toEqual({ result: "4" });
  });

  test("executes a pipeline of 100,000 commands and replies to each", async () => {
    const key = newKey();
    const rows = Array.from({ length: 100_000 }, () => ["INCR", key]);
    const { status, json } = await front.call("/pipeline", rows);
    expect(status).toBe(200);
    expect(json).toHaveLength(100_000);
  });
});

describe("a Redis that accepts connections but does not reply", () => {
  const unknown = {
    error: "ERR redis has not replied in time: the outcome is unknown, the command may have been executed",
  };

  test("causes a 503 after the configured time, and its late reply reaches no other caller", async () => {
    const impatient = await startFront(redis.url, { timeoutMs: 900 });
    const key = newKey();
    await impatient.call("/", ["SET", key, "mine"]);
    const stopper = new Redis(redis.url);
    await stopper.call("CLIENT", "PAUSE", "3000", "ALL");
    stopper.disconnect();
    const { status, json } = await impatient.call("/", ["GET", key]);
    expect([status, json]).toEqual([503, unknown]);
    const pipeline = await impatient.call("/pipeline", [["GET", key]]);
    // Whether the front has noticed by now that its new connection does not answer either depends on the machine.
    expect([unknown, unreachable]).toContainEqual(pipeline.json);
    expect(pipeline.status).toBe(503);
    await until("the front serves", async () => (await impatient.call("/ping")).status === 200);
    expect((await impatient.call("/", ["ECHO", "next"])).json).toEqual({ result: "next" });
    await impatient.stop();
  });
});

describe("a front that starts before its Redis", () => {
  test("listens, returns 503, and serves as soon as Redis is reachable", async () => {
    await redis.stop();
    const early = await startFront(redis.url);
    expect((await early.call("/ping")).status).toBe(503);
    redis = await startRedis(redis.port);
    await until("the front serves", async () => (await early.call("/ping")).status === 200);
    await early.stop();
  });
});
