/** A connection that stays open but has become useless, while its address leads to a working Redis. */
import { createServer } from "node:net";
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import type { Service } from "../../../local/processes/child.ts";
import { parseRedisUrl } from "../../../worker-node/clients/redis-url.ts";
import { connectRedis } from "../../../worker-node/clients/redis.ts";
import { startRedis } from "../../services/services.ts";
import { Proxy } from "../../workerd/proxy.ts";

let redis: Service;
let address: Proxy;
let client: ReturnType<typeof connectRedis>;

beforeEach(async () => {
  redis = await startRedis();
  address = new Proxy(redis.port);
  const url = `redis://127.0.0.1:${await address.listen()}`;
  client = connectRedis(parseRedisUrl({ REDIS_URL: url }), { commandTimeout: 1_000, socketTimeout: 2_000 });
  client.on("error", () => {});
  await expect.poll(canWrite).toBe(true);
});
afterEach(async () => {
  client.disconnect();
  await address.close();
  await redis.stop();
});

const canWrite = (): Promise<boolean> =>
  client.set("a", "1").then(
    () => true,
    () => false,
  );

// Fails when the client reconnects only after a close: a demoted master keeps its connections open.
test("a connection to a demoted master is replaced by one to the address's new master", async () => {
  const master = await startRedis();
  const admin = new Redis(redis.url);
  address.lead(master.port);
  await admin.replicaof("127.0.0.1", master.port);
  await expect.poll(canWrite, { interval: 200 }).toBe(true);
  admin.disconnect();
  await master.stop();
});

// Fails when only Redis' own words count: the proxy of a hosted Redis puts an ERR before them.
test("a refusal to write replaces the connection also in the words of a proxy", async () => {
  let connections = 0;
  const server = createServer((socket) => {
    const reply = ++connections === 1 ? "-ERR READONLY You can't write against a read only replica" : "+OK";
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      for (const command of bytes
        .toString()
        .split(/\*\d+\r\n/)
        .slice(1))
        socket.write(
          command.includes("info")
            ? "$0\r\n\r\n"
            : `${command.includes("set\r\n$1\r\na") ? reply : "+OK"}\r\n`,
        );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const url = `redis://127.0.0.1:${z.object({ port: z.number() }).parse(server.address()).port}`;
  client.disconnect();
  client = connectRedis(parseRedisUrl({ REDIS_URL: url }), { commandTimeout: 1_000, socketTimeout: 2_000 });
  client.on("error", () => {});
  await expect.poll(canWrite, { interval: 200 }).toBe(true);
  expect(connections).toBe(2);
});

// Fails when an unanswered command fails, but its connection is kept.
test("a connection without replies is replaced within seconds", async () => {
  address.silence();
  expect(await canWrite()).toBe(false);
  await expect.poll(canWrite, { interval: 200 }).toBe(true);
});
