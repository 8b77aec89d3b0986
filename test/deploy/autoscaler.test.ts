import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { projectFolder } from "../../local/processes/programs.ts";
import { job, limits, TestQueue } from "../shared/queue/fixture.ts";

const text = readFileSync(join(projectFolder, "deploy/kubernetes/keda.yaml"), "utf8");
const ScaledObject = z.object({
  spec: z.object({
    triggers: z.tuple([
      z.object({
        type: z.literal("redis"),
        metadata: z.object({ listName: z.string(), listLength: z.string(), address: z.string() }),
      }),
    ]),
  }),
});
const { listName, listLength } = ScaledObject.parse(parseAllDocuments(text)[0]?.toJS()).spec.triggers[0]
  .metadata;

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

/**
 * What KEDA's Redis scaler asks: a script that takes the key's type and sends ZCARD for a sorted set, SCARD for a set, HLEN for a
 * hash, and LLEN for a list or a key that does not exist.
 */
async function lengthForKeda(): Promise<unknown> {
  const script = `
    local commands = { zset = "ZCARD", set = "SCARD", hash = "HLEN", list = "LLEN", none = "LLEN" }
    return redis.call(commands[redis.call("TYPE", KEYS[1]).ok], KEYS[1])`;
  return t.redis.eval(script, 1, listName);
}

describe("the ScaledObject of KEDA", () => {
  beforeEach(() => t.begin(limits("acme"), limits("small")));

  test("has the key of the predecessor's ScaledObject, and its queue length for each worker", () => {
    expect({ listName, listLength }).toEqual({ listName: "synapse:orchestrations:default", listLength: "5" });
  });

  test("reads the number of ready runs of all tenants: not delayed or leased ones, and 0 from an empty Redis", async () => {
    expect(await lengthForKeda()).toBe(0);
    await t.queue.enqueue([1, 2, 3].map((number) => job(number, "acme")));
    await t.queue.enqueue([job(4, "small", { lane: "bulk" }), job(5, "small", { delayMs: 60_000 })]);
    expect(await lengthForKeda()).toBe(4);
    expect(await t.claim("w1", 3)).toHaveLength(3);
    expect(await lengthForKeda()).toBe(1);
    await t.redis.flushall();
    expect(await lengthForKeda()).toBe(0);
  });
});
