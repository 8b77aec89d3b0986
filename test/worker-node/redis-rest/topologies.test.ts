/** The REST front with a cluster of two nodes, and with a sentinel. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../../local/processes/free-ports.ts";
import { findRedis } from "../../../local/stores/redis-binary.ts";
import { startRedis } from "../../../local/stores/redis.ts";
import type { Service } from "../../../local/processes/child.ts";
import { startFront, type Front } from "./front.ts";
import { until } from "../../services/waiting.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-topology-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function callRedis(service: Service, ...[name = "", ...args]: string[]): Promise<unknown> {
  const redis = new Redis(service.url);
  try {
    return await redis.call(name, ...args);
  } finally {
    redis.disconnect();
  }
}

describe("a cluster of two", () => {
  let nodes: Service[] = [];
  let front: Front;
  beforeAll(async () => {
    const args = ["--appendonly", "no", "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
    nodes = await Promise.all(["a", "b"].map((name) => startRedis({ dir: join(dir, name), port: 0, args })));
    const [nodeA, nodeB] = nodes;
    if (!nodeA || !nodeB) throw new Error("the cluster has two nodes");
    await callRedis(nodeA, "CLUSTER", "ADDSLOTSRANGE", "0", "8191");
    await callRedis(nodeB, "CLUSTER", "ADDSLOTSRANGE", "8192", "16383");
    await callRedis(nodeA, "CLUSTER", "MEET", "127.0.0.1", String(nodeB.port));
    const isComplete = async (node: Service) =>
      String(await callRedis(node, "CLUSTER", "INFO")).includes("slots_ok:16384");
    await until(
      "the cluster is complete",
      async () => (await isComplete(nodeA)) && (await isComplete(nodeB)),
    );
    front = await startFront(`redis+cluster://127.0.0.1:${nodeA.port},127.0.0.1:${nodeB.port}`);
  });
  afterAll(async () => {
    await front.stop();
    await Promise.all(nodes.map((node) => node.stop()));
  });

  test("executes commands and scripts on the node of their key", async () => {
    const keys = Array.from({ length: 40 }, (_, i) => `key ${i}`);
    const rows = keys.map((key) => ["SET", key, key]);
    expect((await front.call("/pipeline", rows)).json).toEqual(keys.map(() => ({ result: "OK" })));
    const sizes = await Promise.all(nodes.map((node) => callRedis(node, "DBSIZE")));
    expect(sizes.map(Number).every((size) => size > 5)).toBe(true);
    const script = front.sdk().createScript<string>("return redis.call('GET', KEYS[1])");
    for (const key of keys) expect(await script.exec([key], [])).toBe(key);
    expect((await front.call("/", ["MGET", "key 1", "key 2"])).json).toEqual({
      error: expect.stringContaining("CROSSSLOT"),
    });
  });

  test("executes a transaction over one slot; over several slots it is a 400 without effect", async () => {
    const ofOneSlot = [
      ["SET", "{t}a", "1"],
      ["INCR", "{t}b"],
      ["HGET", "{t}a", "f"],
      ["GET", "{t}a"],
    ];
    expect((await front.call("/multi-exec", ofOneSlot)).json).toEqual([
      { result: "OK" },
      { result: 1 },
      { error: expect.stringMatching(/^WRONGTYPE/) },
      { result: "1" },
    ]);
    for (const other of ["{u}a", "{v}a", "{w}a", "{x}a"]) {
      const response = await front.call("/multi-exec", [
        ["SET", "{t}none", "1"],
        ["SET", other, "1"],
      ]);
      expect([response.status, response.json]).toEqual([
        400,
        { error: expect.stringContaining("CROSSSLOT") },
      ]);
    }
    const oneCommand = await front.call("/multi-exec", [["MGET", "{t}a", "{u}a"]]);
    expect([oneCommand.status, oneCommand.json]).toEqual([
      400,
      { error: expect.stringContaining("CROSSSLOT") },
    ]);
    expect((await front.call("/", ["EXISTS", "{t}none"])).json).toEqual({ result: 0 });
  });

  test("delivers messages from whichever node they are published to", async () => {
    const received: unknown[] = [];
    const sdk = front.sdk();
    const subscriber = sdk.subscribe<string>(["news"]);
    subscriber.on("message", ({ message }) => received.push(message));
    await until("the message has arrived", async () => {
      await Promise.all(nodes.map((node, i) => callRedis(node, "PUBLISH", "news", `from ${i}`)));
      return received.includes("from 0") && received.includes("from 1");
    });
    await subscriber.unsubscribe();
  });

  // The front's time limit for a command is longer than the test: a response comes because the client gives a node up by itself.
  test("causes a 503 while it is down, and works again afterwards", async () => {
    const ports = nodes.map(({ port }) => port);
    await Promise.all(nodes.map((node) => node.stop()));
    for (const path of ["/", "/multi-exec"]) {
      const response = await front.call(path, path === "/" ? ["GET", "{t}a"] : [["GET", "{t}a"]]);
      expect([path, response.status]).toEqual([path, 503]);
    }
    const args = ["--appendonly", "no", "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"];
    nodes = await Promise.all(
      ["a", "b"].map((name, i) => startRedis({ dir: join(dir, name), port: ports[i] ?? 0, args })),
    );
    await until(
      "a write succeeds",
      async () => (await front.call("/", ["SET", "{t}a", "again"])).status === 200,
    );
  });
});

// Fails when the client keeps a command for a cluster that it has never reached: such a command has no limit.
test("a cluster whose hosts never reply causes a 503, also for transactions", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  await once(silent, "listening");
  const address = silent.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const front = await startFront(`redis+cluster://127.0.0.1:${port}`);
  for (const path of ["/pipeline", "/multi-exec", "/multi-exec"]) {
    expect((await front.call(path, [["GET", "k"]])).status).toBe(503);
  }
  await front.stop();
  silent.close();
});

describe("a Redis behind a sentinel", () => {
  test("is found by the name of its master", async () => {
    const master = await startRedis({ dir: join(dir, "master"), port: 0, args: ["--appendonly", "no"] });
    const port = await freePort(0);
    const config = join(dir, "sentinel.conf");
    writeFileSync(config, `port ${port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 ${master.port} 1\n`);
    const { command, env } = (await findRedis(dir)).at(port);
    const sentinel = spawn(command, [config, "--sentinel"], {
      env: { ...process.env, ...env },
      stdio: "ignore",
    });
    const front = await startFront({ REDIS_URL: `redis://127.0.0.1:${port}`, REDIS_SENTINEL_NAME: "main" });
    try {
      await until("a write succeeds", async () => (await front.call("/", ["SET", "k", "v"])).status === 200);
      expect(await callRedis(master, "GET", "k")).toBe("v");
    } finally {
      await front.stop();
      sentinel.kill("SIGTERM");
      await master.stop();
    }
  });
});
