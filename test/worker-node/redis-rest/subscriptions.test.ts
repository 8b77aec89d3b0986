/** Channels and patterns as server-sent events, read with the SDK, with fetch and by a viewer that does not read. */
import { connect } from "node:net";
import { Redis } from "ioredis";
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { newKey, startFront, until, type Front } from "./front.ts";

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

/** Everything a stream has said so far, and its end. */
async function read(path: string): Promise<{ text: () => string; close: () => void; status: number }> {
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
  reading.catch(() => undefined); // its abort
  return { text: () => text, close: () => controller.abort(), status: response.status };
}

describe("a stream", () => {
  test("says that it listens, then every message, in order", async () => {
    const channel = newKey();
    const stream = await read(`/subscribe/${channel}`);
    await until(() => stream.text() === `data: subscribe,${channel},1\n\n`);
    await redis.publish(channel, "hello");
    await redis.publish(channel, "how, are you?");
    const messages = `data: message,${channel},hello\n\ndata: message,${channel},how, are you?\n\n`;
    await until(() => stream.text().endsWith(messages));
  });

  test("may listen to several channels, and counts them", async () => {
    const [a, b] = [newKey(), newKey()];
    const stream = await read(`/subscribe/${a}/${b}`);
    await until(() => stream.text() === `data: subscribe,${a},1\n\ndata: subscribe,${b},2\n\n`);
    await redis.publish(b, "x");
    await until(() => stream.text().endsWith(`data: message,${b},x\n\n`));
  });

  test("of a pattern names pattern and channel", async () => {
    const prefix = newKey();
    const stream = await read(`/psubscribe/${prefix}:*`);
    await until(() => stream.text() === `data: psubscribe,${prefix}:*,1\n\n`);
    await redis.publish(`${prefix}:one`, "ü");
    await until(() => stream.text().endsWith(`data: pmessage,${prefix}:*,${prefix}:one,ü\n\n`));
  });

  test("carries a line break as a further line of the same event", async () => {
    const channel = newKey();
    const stream = await read(`/subscribe/${channel}`);
    await redis.publish(channel, "one\ntwo\r\nthree");
    await until(() => stream.text().endsWith(`data: message,${channel},one\ndata: two\ndata: three\n\n`));
  });

  test("without a name is a 400, and without Accept it is the refused command", async () => {
    expect((await read("/subscribe")).status).toBe(400);
    const answer = await front.call("/subscribe/c");
    expect([answer.status, answer.json]).toEqual([
      400,
      { error: expect.stringContaining("text/event-stream") },
    ]);
  });
});

describe("many viewers of one channel", () => {
  test("are one subscription of Redis, which ends with the last of them", async () => {
    const channel = newKey();
    const streams = await Promise.all(Array.from({ length: 5 }, async () => read(`/subscribe/${channel}`)));
    expect(await subscribers(channel)).toBe(1);
    streams.slice(1).forEach((stream) => stream.close());
    await redis.publish(channel, "still here");
    await until(() => streams[0]?.text().includes("still here") ?? false);
    expect(await subscribers(channel)).toBe(1);
    streams[0]?.close();
    await until(async () => (await subscribers(channel)) === 0);
  });

  test("one that comes while another goes still hears", async () => {
    const channel = newKey();
    for (let round = 0; round < 20; round++) {
      const first = await read(`/subscribe/${channel}`);
      first.close();
      const second = await read(`/subscribe/${channel}`);
      await redis.publish(channel, `round ${round}`);
      await until(() => second.text().includes(`round ${round}`));
      second.close();
    }
  });

  test("one that does not read is cut, and the others are not held up", async () => {
    const channel = newKey();
    const reader = await read(`/subscribe/${channel}`);
    const { port } = new URL(front.url);
    const deaf = connect(Number(port), "127.0.0.1");
    deaf.on("error", () => undefined); // its reset
    const head = `POST /subscribe/${channel} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\ncontent-length: 0\r\n`;
    deaf.write(`${head}authorization: Bearer ${front.token}\r\n\r\n`);
    const closed = new Promise((resolve) => deaf.once("close", resolve));
    await new Promise((resolve) => deaf.once("data", resolve));
    deaf.pause();
    // Far more than the kernel's socket buffers and the 256 KiB together hold.
    const message = "m".repeat(64 * 1024);
    for (let sent = 0; sent < 400; sent++) await redis.publish(channel, message);
    await redis.publish(channel, "the end");
    await until(() => reader.text().endsWith("the end\n\n"));
    deaf.resume();
    await closed;
    expect(deaf.bytesRead).toBeLessThan(300 * message.length);
  });
});

describe("with the SDK", () => {
  test("messages arrive as what was published, by channel and by pattern", async () => {
    const sdk = front.sdk();
    const channel = newKey();
    const heard: unknown[] = [];
    const counts: number[] = [];
    const subscriber = sdk.subscribe<unknown>([channel]);
    subscriber.on("subscribe", (count) => counts.push(count));
    subscriber.on("message", ({ message }) => heard.push(message));
    const patterns = sdk.psubscribe<unknown>([`${channel}*`]);
    patterns.on("pmessage", (event) => heard.push(event));
    await until(async () => (await subscribers(channel)) === 1 && Number(await redis.pubsub("NUMPAT")) === 1);
    await sdk.publish(channel, { user: "ü", n: 1 });
    await until(() => heard.length === 2);
    expect(heard).toContainEqual({ user: "ü", n: 1 });
    expect(heard).toContainEqual({ pattern: `${channel}*`, channel, message: { user: "ü", n: 1 } });
    expect(counts).toEqual([1]);
    await Promise.all([subscriber.unsubscribe(), patterns.unsubscribe()]);
    await until(async () => (await subscribers(channel)) === 0);
  });

  test("one of two channels can be left", async () => {
    const [left, kept] = [newKey(), newKey()];
    const sdk = front.sdk();
    const heard: string[] = [];
    const subscriber = sdk.subscribe<string>([left, kept]);
    subscriber.on("message", ({ channel }) => heard.push(channel));
    await until(async () => (await subscribers(left)) + (await subscribers(kept)) === 2);
    await subscriber.unsubscribe([left]);
    await until(async () => (await subscribers(left)) === 0);
    await sdk.publish(left, "a");
    await sdk.publish(kept, "b");
    await until(() => heard.length > 0);
    expect(heard).toEqual([kept]);
    await subscriber.unsubscribe();
  });
});
