/** Channels and patterns as server-sent events, read with the SDK, with fetch, and by a viewer that does not read. */
import { connect } from "node:net";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { newKey, startFront, type Front } from "./front.ts";
import { until } from "../../services/waiting.ts";

let front: Front;
let redis: Redis;
beforeAll(async () => {
  front = await startFront(inject("redisUrl"));
  redis = new Redis(inject("redisUrl"));
});
afterAll(async () => {
  redis.disconnect();
  await front.stop();
});

const subscribers = async (channel: string) => Number((await redis.pubsub("NUMSUB", channel))[1]);

const opened: AbortController[] = [];
afterEach(() => opened.splice(0).forEach((controller) => controller.abort()));

/** Opens a stream. `text`: what it has sent so far. */
async function openStream(path: string): Promise<{ text: () => string; close: () => void; status: number }> {
  const controller = new AbortController();
  opened.push(controller);
  const response = await fetch(front.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${front.token}`, accept: "text/event-stream" },
    signal: controller.signal,
  });
  let text = "";
  const decoder = new TextDecoder();
  const reading = (async () => {
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk, { stream: true });
  })();
  reading.catch(() => undefined); // it fails at the abort
  return { text: () => text, close: () => controller.abort(), status: response.status };
}

describe("a stream", () => {
  test("confirms its subscription, then sends every message in order", async () => {
    const channel = newKey();
    const stream = await openStream(`/subscribe/${channel}`);
    await until("the messages have arrived", () => stream.text() === `data: subscribe,${channel},1\n\n`);
    await redis.publish(channel, "hello");
    await redis.publish(channel, "how, are you?");
    const messages = `data: message,${channel},hello\n\ndata: message,${channel},how, are you?\n\n`;
    await until("the messages have arrived", () => stream.text().endsWith(messages));
  });

  test("of several channels numbers its subscriptions", async () => {
    const [channelA, channelB] = [newKey(), newKey()];
    const stream = await openStream(`/subscribe/${channelA}/${channelB}`);
    await until(
      "the messages have arrived",
      () => stream.text() === `data: subscribe,${channelA},1\n\ndata: subscribe,${channelB},2\n\n`,
    );
    await redis.publish(channelB, "x");
    await until("the messages have arrived", () => stream.text().endsWith(`data: message,${channelB},x\n\n`));
  });

  test("of a pattern names the pattern and the channel", async () => {
    const prefix = newKey();
    const stream = await openStream(`/psubscribe/${prefix}:*`);
    await until("the messages have arrived", () => stream.text() === `data: psubscribe,${prefix}:*,1\n\n`);
    await redis.publish(`${prefix}:one`, "ü");
    await until("the messages have arrived", () =>
      stream.text().endsWith(`data: pmessage,${prefix}:*,${prefix}:one,ü\n\n`),
    );
  });

  test("sends a line break as a further data line of the same event", async () => {
    const channel = newKey();
    const stream = await openStream(`/subscribe/${channel}`);
    await redis.publish(channel, "one\ntwo\r\nthree");
    await until("the messages have arrived", () =>
      stream.text().endsWith(`data: message,${channel},one\ndata: two\ndata: three\n\n`),
    );
  });

  test("without a name is a 400, and without the Accept header it is a refused command", async () => {
    expect((await openStream("/subscribe")).status).toBe(400);
    const response = await front.call("/subscribe/c");
    expect([response.status, response.json]).toEqual([
      400,
      { error: expect.stringContaining("text/event-stream") },
    ]);
  });
});

describe("the headers of a stream", () => {
  test("keep proxies from buffering and compressing it, and are the whole response to HEAD", async () => {
    const headers = { authorization: `Bearer ${front.token}`, accept: "text/event-stream" };
    const channel = newKey();
    const head = await fetch(`${front.url}/subscribe/${channel}`, { method: "HEAD", headers });
    expect(await head.text()).toBe("");
    expect(Object.fromEntries(head.headers)).toMatchObject({
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      "x-accel-buffering": "no",
    });
    await until("the subscription has ended", async () => (await subscribers(channel)) === 0);
  });
});

describe("a viewer that reads", () => {
  test.each([
    ["a message of 260 KiB", [["PUBLISH", "CHANNEL", "m".repeat(260 * 1024)]]],
    [
      "1,300 messages of 200 bytes at once",
      Array.from({ length: 1_300 }, (_, i) => ["PUBLISH", "CHANNEL", `${i} ${"m".repeat(200)}`]),
    ],
    [
      "20 messages of 400 KiB at once",
      Array.from({ length: 20 }, (_, i) => ["PUBLISH", "CHANNEL", `${i} ${"m".repeat(400 * 1024)}`]),
    ],
  ])("receives every message, in order: %s", async (_, rows) => {
    const channel = newKey();
    const stream = await openStream(`/subscribe/${channel}`);
    const named = rows.map(([verb, , message]) => [verb, channel, message]);
    const { json } = await front.call("/pipeline", named);
    expect(json).toEqual(rows.map(() => ({ result: 1 })));
    await redis.publish(channel, "the end");
    await until("the messages have arrived", () => stream.text().endsWith("the end\n\n"));
    const messages = [...stream.text().matchAll(/^data: message,[^,]+,(.*)$/gm)].map(
      ([, message]) => message,
    );
    expect(messages).toEqual([...rows.map(([, , message]) => message), "the end"]);
  });
});

describe("many viewers of one channel", () => {
  test("share one subscription of Redis, which ends with the last viewer", async () => {
    const channel = newKey();
    const streams = await Promise.all(
      Array.from({ length: 5 }, async () => openStream(`/subscribe/${channel}`)),
    );
    expect(await subscribers(channel)).toBe(1);
    streams.slice(1).forEach((stream) => stream.close());
    await redis.publish(channel, "one viewer remains");
    await until(
      "the messages have arrived",
      () => streams[0]?.text().includes("one viewer remains") ?? false,
    );
    expect(await subscribers(channel)).toBe(1);
    streams[0]?.close();
    await until("the subscriptions are those of the viewers", async () => (await subscribers(channel)) === 0);
  });

  test("do not lose a message when one opens while the last one closes", async () => {
    const channel = newKey();
    for (let round = 0; round < 20; round++) {
      const first = await openStream(`/subscribe/${channel}`);
      first.close();
      const second = await openStream(`/subscribe/${channel}`);
      await redis.publish(channel, `round ${round}`);
      await until("the messages have arrived", () => second.text().includes(`round ${round}`));
      second.close();
    }
  });

  test("do not wait for a viewer that does not read, which is disconnected", async () => {
    const channel = newKey();
    const reader = await openStream(`/subscribe/${channel}`);
    const { port } = new URL(front.url);
    const idleViewer = connect(Number(port), "127.0.0.1");
    idleViewer.on("error", () => undefined); // the reset of the connection
    const head = `POST /subscribe/${channel} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\ncontent-length: 0\r\n`;
    idleViewer.write(`${head}authorization: Bearer ${front.token}\r\n\r\n`);
    const closed = new Promise((resolve) => idleViewer.once("close", resolve));
    await new Promise((resolve) => idleViewer.once("data", resolve));
    idleViewer.pause();
    // Far more than the kernel's socket buffers and the limit of 32 MiB together.
    const message = "m".repeat(64 * 1024);
    for (let sent = 0; sent < 1_000; sent++) await redis.publish(channel, message);
    await redis.publish(channel, "the end");
    await until("the messages have arrived", () => reader.text().endsWith("the end\n\n"));
    idleViewer.resume();
    await closed;
    expect(idleViewer.bytesRead).toBeLessThan(900 * message.length);
  });
});

describe("a subscription of the SDK", () => {
  test("receives the published values, by channel and by pattern", async () => {
    const sdk = front.sdk();
    const channel = newKey();
    const received: unknown[] = [];
    const counts: number[] = [];
    const subscriber = sdk.subscribe<unknown>([channel]);
    subscriber.on("subscribe", (count) => counts.push(count));
    subscriber.on("message", ({ message }) => received.push(message));
    const patterns = sdk.psubscribe<unknown>([`${channel}*`]);
    patterns.on("pmessage", (event) => received.push(event));
    await until(
      "the subscriptions are those of the viewers",
      async () => (await subscribers(channel)) === 1 && Number(await redis.pubsub("NUMPAT")) === 1,
    );
    await sdk.publish(channel, { user: "ü", n: 1 });
    await until("the messages have arrived", () => received.length === 2);
    expect(received).toContainEqual({ user: "ü", n: 1 });
    expect(received).toContainEqual({ pattern: `${channel}*`, channel, message: { user: "ü", n: 1 } });
    expect(counts).toEqual([1]);
    await Promise.all([subscriber.unsubscribe(), patterns.unsubscribe()]);
    await until("the subscriptions are those of the viewers", async () => (await subscribers(channel)) === 0);
  });

  test("can end for one of two channels", async () => {
    const [ended, remaining] = [newKey(), newKey()];
    const sdk = front.sdk();
    const received: string[] = [];
    const subscriber = sdk.subscribe<string>([ended, remaining]);
    subscriber.on("message", ({ channel }) => received.push(channel));
    await until(
      "the subscriptions are those of the viewers",
      async () => (await subscribers(ended)) + (await subscribers(remaining)) === 2,
    );
    await subscriber.unsubscribe([ended]);
    await until("the subscriptions are those of the viewers", async () => (await subscribers(ended)) === 0);
    await sdk.publish(ended, "a");
    await sdk.publish(remaining, "b");
    await until("the messages have arrived", () => received.length > 0);
    expect(received).toEqual([remaining]);
    await subscriber.unsubscribe();
  });
});
