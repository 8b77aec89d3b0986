/** A script may touch keys of one slot only: a cluster of three nodes refuses any other script. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cluster, Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { freePort } from "../../../local/processes/free-ports.ts";
import { inMemory, startRedis } from "../../../local/stores/redis.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { until } from "../../services/waiting.ts";
import { checkContract } from "./contract.ts";
import { rewriteOf } from "./mutation.ts";

const SLOTS = 16_384;
const SHARDS = 4;
const dir = mkdtempSync(join(tmpdir(), "synapse-cluster-"));
const services: Service[] = [];
let cluster: Cluster;

beforeAll(async () => {
  const nodes = await Promise.all(["a", "b", "c"].map(startNode));
  services.push(...nodes.map(({ service }) => service));
  await formCluster(nodes.map(({ service, busPort }) => ({ port: service.port, busPort })));
  const first = services[0]?.port ?? 0;
  cluster = new Cluster([{ host: "127.0.0.1", port: first }], { redisOptions: { protocol: 2 } });
});
afterAll(async () => {
  cluster.disconnect();
  await Promise.all(services.map((service) => service.stop()));
  rmSync(dir, { recursive: true, force: true });
});

/** Names the port of the cluster bus, because Redis's own choice (ten thousand higher) may not exist. */
async function startNode(name: string): Promise<{ service: Service; busPort: number }> {
  const busPort = await freePort(0);
  const args = [...inMemory, "--cluster-enabled", "yes", "--cluster-port", String(busPort)];
  return { service: await startRedis({ dir: join(dir, name), port: 0, args }), busPort };
}

/** Assigns the slots, introduces the nodes, and waits until each of them sees all slots served. */
async function formCluster(addresses: { port: number; busPort: number }[]): Promise<void> {
  const nodes = addresses.map(({ port }) => new Redis(port, "127.0.0.1", { protocol: 2 }));
  const [first] = addresses;
  const share = Math.ceil(SLOTS / nodes.length);
  for (const [i, node] of nodes.entries()) {
    const last = Math.min(SLOTS, (i + 1) * share) - 1;
    await node.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1);
    await node.call("CLUSTER", "ADDSLOTSRANGE", i * share, last);
    if (i > 0) await node.call("CLUSTER", "MEET", "127.0.0.1", String(first?.port), String(first?.busPort));
  }
  await until("the cluster is formed", async () => (await Promise.all(nodes.map(isJoined))).every(Boolean));
  for (const node of nodes) node.disconnect();
}

async function isJoined(node: Redis): Promise<boolean> {
  const info = String(await node.call("CLUSTER", "INFO"));
  return info.includes("cluster_state:ok") && info.includes(`cluster_slots_ok:${SLOTS}`);
}

test("every verb works on a cluster with shards on several nodes", async () => {
  const queue = new Queue(scriptCommands(cluster), SHARDS);
  await checkContract(queue);
  const sizes = await Promise.all(cluster.nodes("master").map((node) => node.dbsize()));
  expect(sizes.filter((size) => size > 0).length).toBeGreaterThan(1);
});

test("a script that touches a key of another slot is refused", async () => {
  await Promise.all(cluster.nodes("master").map((node) => node.flushall()));
  const outsideSlot = rewriteOf({
    file: "common.lua",
    from: 'tag .. "queued_or_reserved"',
    to: '"queued_or_reserved"',
  });
  const queue = new Queue(
    {
      evalsha: () => Promise.reject(new Error("NOSCRIPT")),
      eval: (script, keys, args) => cluster.eval(outsideSlot(script), keys.length, ...keys, ...args),
    },
    SHARDS,
  );
  await expect(checkContract(queue)).rejects.toThrow(/non local key|CROSSSLOT|undeclared/i);
});
