/** The commands of the real SDK, for each type of value, through the front to a real Redis. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Redis } from "@upstash/redis";
import type { Service } from "../../../local/processes/child.ts";
import { startRedis } from "../../services/services.ts";
import { newKey, startFront, type Front } from "./front.ts";

let redis: Service;
let front: Front;
let sdk: Redis;
beforeAll(async () => {
  redis = await startRedis(); // a Redis of its own, because a test calls flushall
  front = await startFront(redis.url);
  sdk = front.sdk();
});
afterAll(async () => {
  await front.stop();
  await redis.stop();
});
let key = "";
beforeEach(() => {
  key = newKey();
});

/** The number of pipelines that the SDK has made by itself; its types do not declare this property. */
const autoPipelines = (client: Redis): unknown => Reflect.get(client, "pipelineCounter");

describe("the commands of the SDK work for", () => {
  test("strings, counters and bits", async () => {
    expect(await sdk.set(key, "v", { ex: 100, nx: true })).toBe("OK");
    expect(await sdk.set(key, "w", { nx: true })).toBeNull();
    expect(await sdk.set(key, "w", { get: true })).toBe("v");
    expect(await sdk.append(key, "xyz")).toBe(4);
    expect(await sdk.getrange(key, 1, 2)).toBe("xy");
    expect(await sdk.setrange(key, 1, "--")).toBe(4);
    expect(await sdk.getdel(key)).toBe("w--z");
    expect(await sdk.incrby(key, 5)).toBe(5);
    expect(await sdk.decr(key)).toBe(4);
    expect(await sdk.incrbyfloat(key, 0.5)).toBe(4.5);
    expect(await sdk.mset({ [`${key}a`]: "1", [`${key}b`]: { deep: [1] } })).toBe("OK");
    expect(await sdk.mget(`${key}a`, `${key}b`, `${key}c`)).toEqual([1, { deep: [1] }, null]);
    expect(await sdk.msetnx({ [`${key}a`]: 1 })).toBe(0);
    expect(await sdk.setbit(`${key}bits`, 7, 1)).toBe(0);
    expect([await sdk.getbit(`${key}bits`, 7), await sdk.bitcount(`${key}bits`, 0, -1)]).toEqual([1, 1]);
    expect(await sdk.bitop("not", `${key}not`, `${key}bits`)).toBe(1);
    expect(await sdk.bitpos(`${key}not`, 0)).toBe(7);
  });

  test("keys and their expiry", async () => {
    await sdk.set(key, 1);
    expect([await sdk.expire(key, 100), await sdk.ttl(key), await sdk.persist(key)]).toEqual([1, 100, 1]);
    expect([await sdk.ttl(key), await sdk.type(key), await sdk.exists(key, key)]).toEqual([-1, "string", 2]);
    expect(await sdk.pexpireat(key, Date.now() + 60_000)).toBe(1);
    expect(await sdk.pttl(key)).toBeGreaterThan(50_000);
    expect([await sdk.rename(key, `${key}2`), await sdk.copy(`${key}2`, key)]).toEqual(["OK", "COPIED"]);
    expect([await sdk.renamenx(key, `${key}2`), await sdk.touch(key), await sdk.unlink(key)]).toEqual([
      0, 1, 1,
    ]);
    expect(await sdk.keys(`${key}*`)).toEqual([`${key}2`]);
    expect((await sdk.scan(0, { match: `${key}*`, count: 10_000 }))[1]).toEqual([`${key}2`]);
    expect([await sdk.del(`${key}2`), await sdk.type(key), await sdk.ttl(key)]).toEqual([1, "none", -2]);
  });

  test("hashes", async () => {
    expect(await sdk.hset(key, { a: 1, b: "two", c: { d: true } })).toBe(3);
    expect(await sdk.hgetall(key)).toEqual({ a: 1, b: "two", c: { d: true } });
    expect(await sdk.hgetall(newKey())).toBeNull();
    expect([await sdk.hget(key, "b"), await sdk.hmget(key, "a", "z")]).toEqual(["two", { a: 1, z: null }]);
    expect([await sdk.hincrby(key, "a", 2), await sdk.hincrbyfloat(key, "a", 0.5)]).toEqual([3, 3.5]);
    expect([await sdk.hexists(key, "a"), await sdk.hlen(key), await sdk.hstrlen(key, "b")]).toEqual([
      1, 3, 3,
    ]);
    expect([(await sdk.hkeys(key)).toSorted(), await sdk.hsetnx(key, "a", 1)]).toEqual([["a", "b", "c"], 0]);
    expect(await sdk.hscan(key, 0)).toEqual(["0", ["a", 3.5, "b", "two", "c", { d: true }]]);
    expect([await sdk.hdel(key, "a", "c"), await sdk.hvals(key)]).toEqual([2, ["two"]]);
    expect(await sdk.hrandfield(key, 1, true)).toEqual({ b: "two" });
  });

  test("lists", async () => {
    expect([await sdk.rpush(key, "a", "b", "c"), await sdk.lpush(key, "z")]).toEqual([3, 4]);
    expect(await sdk.lrange(key, 0, -1)).toEqual(["z", "a", "b", "c"]);
    expect([await sdk.lindex(key, 1), await sdk.lpos(key, "b"), await sdk.llen(key)]).toEqual(["a", 2, 4]);
    expect([await sdk.linsert(key, "before", "b", "x"), await sdk.lset(key, 0, "y")]).toEqual([5, "OK"]);
    expect([await sdk.lrem(key, 1, "x"), await sdk.ltrim(key, 0, 2)]).toEqual([1, "OK"]);
    expect(await sdk.lmove(key, `${key}2`, "left", "right")).toBe("y");
    expect([await sdk.rpop(key), await sdk.lpop(key, 5), await sdk.lpop(key)]).toEqual(["b", ["a"], null]);
    expect([await sdk.rpushx(key, "q"), await sdk.lpushx(`${key}2`, "q")]).toEqual([0, 2]);
  });

  test("sets", async () => {
    const [other, made] = [`${key}2`, `${key}3`];
    expect([await sdk.sadd(key, "a", "b", "c"), await sdk.sadd(other, "b", "c", "d")]).toEqual([3, 3]);
    expect((await sdk.smembers(key)).toSorted()).toEqual(["a", "b", "c"]);
    expect([await sdk.sismember(key, "a"), await sdk.smismember(key, ["a", "z"])]).toEqual([1, [1, 0]]);
    expect([(await sdk.sinter(key, other)).toSorted(), await sdk.sdiff(key, other)]).toEqual([
      ["b", "c"],
      ["a"],
    ]);
    expect([(await sdk.sunion(key, other)).length, await sdk.sunionstore(made, key, other)]).toEqual([4, 4]);
    expect([await sdk.smove(key, other, "a"), await sdk.srem(key, "b"), await sdk.scard(key)]).toEqual([
      1, 1, 1,
    ]);
    expect([await sdk.srandmember(key), await sdk.spop(key), await sdk.scard(key)]).toEqual(["c", "c", 0]);
    expect((await sdk.sscan(made, 0))[1].length).toBe(4);
  });

  test("sorted sets", async () => {
    const members = [1, 2, 3].map((score) => ({ score, member: `m${score}` }));
    expect(await sdk.zadd(key, { score: 2.5, member: "x" }, ...members)).toBe(4);
    expect(await sdk.zrange(key, 0, -1, { withScores: true })).toEqual(["m1", 1, "m2", 2, "x", 2.5, "m3", 3]);
    expect(await sdk.zrange(key, "(1", "+inf", { byScore: true, offset: 0, count: 1 })).toEqual(["m2"]);
    expect([await sdk.zrank(key, "x"), await sdk.zrevrank(key, "x"), await sdk.zscore(key, "x")]).toEqual([
      2, 1, 2.5,
    ]);
    expect([await sdk.zincrby(key, 1, "m1"), await sdk.zcount(key, 2, 2.5), await sdk.zcard(key)]).toEqual([
      2, 3, 4,
    ]);
    expect(await sdk.zmscore(key, ["m1", "none"])).toEqual([2, null]);
    expect([await sdk.zpopmin(key), await sdk.zpopmax(key)]).toEqual([
      ["m1", 2],
      ["m3", 3],
    ]);
    expect(await sdk.zunionstore(`${key}2`, 2, [key, key], { weights: [1, 2] })).toBe(2);
    expect(await sdk.zrange(`${key}2`, 0, -1, { rev: true, withScores: true })).toEqual(["x", 7.5, "m2", 6]);
    expect([await sdk.zremrangebyscore(`${key}2`, 0, 6), await sdk.zrem(key, "x", "m2")]).toEqual([1, 2]);
    expect(await sdk.zlexcount(key, "-", "+")).toBe(0);
  });

  test("places and HyperLogLogs", async () => {
    const [rome, paris] = [
      { longitude: 12.5, latitude: 41.9, member: "Rome" },
      { longitude: 2.35, latitude: 48.86, member: "Paris" },
    ];
    expect(await sdk.geoadd(key, rome, paris)).toBe(2);
    expect(await sdk.geodist(key, "Rome", "Paris", "KM")).toBeCloseTo(1106, -2);
    const near = await sdk.geosearch(
      key,
      { type: "FROMMEMBER", member: "Rome" },
      { type: "BYRADIUS", radius: 9, radiusType: "KM" },
      "ASC",
    );
    expect(near).toEqual([{ member: "Rome" }]);
    expect([await sdk.pfadd(`${key}h`, "a", "b", "a"), await sdk.pfcount(`${key}h`)]).toEqual([1, 2]);
  });

  test("server commands: ping, echo, time, dbsize, flushall", async () => {
    expect([await sdk.ping(), await sdk.echo("ü"), (await sdk.time()).length]).toEqual(["PONG", "ü", 2]);
    await sdk.set(key, 1);
    expect(await sdk.dbsize()).toBeGreaterThan(0);
    expect([await sdk.flushall(), await sdk.dbsize(), await sdk.randomkey()]).toEqual(["OK", 0, null]);
  });
});

describe("values that encodings may damage", () => {
  const values = [
    "",
    "OK",
    "😀",
    "%%12",
    "VXBzdGFzaA",
    "null",
    "a\u0000b",
    "\r\n",
    "9007199254740993",
    "ÿ",
    '"q"',
  ];
  const clients = { base64: undefined, plain: false } as const;

  test.each(Object.keys(clients))("are returned unchanged with the encoding %s", async (encoding) => {
    const responseEncoding = encoding === "plain" ? false : "base64";
    const client = front.sdk({ responseEncoding, automaticDeserialization: false });
    for (const [i, value] of values.entries()) {
      await client.set(`${key}${i}`, value);
      expect(await client.get(`${key}${i}`)).toBe(value);
      await client.rpush(key, value);
    }
    expect(await client.lrange(key, 0, -1)).toEqual(values);
  });

  test("that are not UTF-8 are returned byte for byte with base64", async () => {
    await sdk.setbit(key, 0, 1);
    const answer = await fetch(`${front.url}/get/${key}`, {
      headers: { authorization: `Bearer ${front.token}`, "upstash-encoding": "base64" },
    });
    expect(await answer.json()).toEqual({ result: Buffer.from([0x80]).toString("base64") });
  });

  test("of a megabyte, and lists of ten thousand members, are returned unchanged", async () => {
    const value = "x😀".repeat(200_000);
    await sdk.set(key, value);
    expect(await sdk.get(key)).toBe(value);
    const members = Array.from({ length: 10_000 }, (_, i) => `member ${i}`);
    await sdk.rpush(`${key}2`, ...members);
    expect(await sdk.lrange(`${key}2`, 0, -1)).toEqual(members);
  });
});

describe("many commands at once", () => {
  test("the reads of one tick are one pipeline in order, and several pipelines beyond its size", async () => {
    const client = front.sdk();
    const words = Array.from({ length: 1500 }, (_, i) => `word ${i}`);
    expect(await Promise.all(words.map((word) => client.echo(word)))).toEqual(words);
    expect(autoPipelines(client)).toBe(2);
  });

  test("a command that fails does not affect the others of its tick", async () => {
    await sdk.set(key, "word");
    const [read, failed] = await Promise.allSettled([sdk.get(key), sdk.lrange(key, 0, 1), sdk.incr(key)]);
    expect(read).toEqual({ status: "fulfilled", value: "word" });
    expect(failed.status).toBe("rejected");
    await expect(sdk.incr(key)).rejects.toThrow("ERR value is not an integer");
  });

  test("a pipeline throws its first error, or returns all errors with keepErrors", async () => {
    const pipeline = sdk.pipeline().set(key, "v").hget(key, "f").get(key);
    await expect(pipeline.exec()).rejects.toThrow(/Command 2 \[ hget \] failed: WRONGTYPE/);
    const [set, failed, get] = await pipeline.exec({ keepErrors: true });
    expect([set.result, failed.error, get.result]).toEqual(["OK", expect.stringMatching(/^WRONGTYPE/), "v"]);
  });

  test("a transaction returns all results, and a failed command does not undo the others", async () => {
    expect(await sdk.multi().set(key, 1).incr(key).get(key).del(key).exec()).toEqual(["OK", 2, 2, 1]);
    await expect(sdk.multi().set(key, "kept").incr(key).exec()).rejects.toThrow(
      /Command 2 \[ incr \] failed/,
    );
    expect(await sdk.get(key)).toBe("kept");
  });

  test("raw commands are executed, and a refusal has its reason", async () => {
    expect(await sdk.exec(["SET", key, 5])).toBe("OK");
    expect(await sdk.exec(["OBJECT", "ENCODING", key])).toBe("int");
    await expect(sdk.exec(["BLPOP", key, 0])).rejects.toThrow("would block the connection");
    await expect(front.sdk({ token: "wrong" }).get(key)).rejects.toThrow("WRONGPASS");
  });
});

describe("scripts", () => {
  test("are loaded on NOSCRIPT and afterwards run by their hash", async () => {
    const script = sdk.createScript<[string, string]>(`return {KEYS[1], ARGV[1]} -- ${key}`);
    await expect(script.evalsha([key], ["ü"])).rejects.toThrow("NOSCRIPT");
    expect(await script.exec([key], ["ü"])).toEqual([key, "ü"]);
    expect(await script.evalsha([key], ["ü"])).toEqual([key, "ü"]);
  });

  test("are loaded, found, executed and flushed", async () => {
    const hash = await sdk.scriptLoad("return ARGV[1]");
    expect(await sdk.scriptExists(hash, "0".repeat(40))).toEqual([1, 0]);
    expect([await sdk.evalsha(hash, [], ["a"]), await sdk.evalRo("return ARGV[1]", [], ["b"])]).toEqual([
      "a",
      "b",
    ]);
    expect(await sdk.eval("return redis.call('GET', KEYS[1])", [key], [])).toBeNull();
    await expect(sdk.evalRo("return redis.call('SET', KEYS[1], 1)", [key], [])).rejects.toThrow(/write/i);
    await sdk.scriptFlush();
    expect(await sdk.scriptExists(hash)).toEqual([0]);
  });
});

describe("streams", () => {
  test("keep their fields as text without automatic deserialisation", async () => {
    const client = front.sdk({ automaticDeserialization: false });
    const fields = { n: "123", yes: "true", none: "null", big: "12345678901234567890", text: "a,b\n😀" };
    await client.xadd(key, "1-1", fields);
    await client.xadd(key, "1-2", { n: "2" });
    expect(await client.xrange(key, "-", "+")).toEqual([
      ["1-1", Object.entries(fields).flat()],
      ["1-2", ["n", "2"]],
    ]);
    expect([await client.xlen(key), await client.xdel(key, "1-2")]).toEqual([2, 1]);
    expect(await client.xrevrange(key, "+", "-", 1)).toEqual([["1-1", Object.entries(fields).flat()]]);
    expect(await client.xread(key, "0-0")).toEqual([[key, [["1-1", Object.entries(fields).flat()]]]]);
    expect(await client.xtrim(key, { strategy: "MAXLEN", threshold: 0, exactness: "=" })).toBe(1);
  });

  test("are read by groups, acknowledged and claimed", async () => {
    expect(await sdk.xgroup(key, { type: "CREATE", group: "g", id: "$", options: { MKSTREAM: true } })).toBe(
      "OK",
    );
    const id = await sdk.xadd(key, "*", { a: 1 });
    expect(await sdk.xreadgroup("g", "one", key, ">")).toEqual([[key, [[id, ["a", 1]]]]]);
    expect(await sdk.xpending(key, "g", "-", "+", 10)).toEqual([[id, "one", expect.any(Number), 1]]);
    const claimed = await sdk.xautoclaim(key, "g", "two", 0, "0-0");
    expect(claimed).toEqual(["0-0", [[id, ["a", 1]]], []]);
    expect(await sdk.xack(key, "g", id)).toBe(1);
    expect(await sdk.xinfo(key, { type: "CONSUMERS", group: "g" })).toHaveLength(2);
  });
});

describe("read your writes", () => {
  test("the sync token changes with every response, and the next request carries it", async () => {
    const client = front.sdk();
    expect(client.readYourWritesSyncToken).toBe("");
    const tokens = new Set<unknown>();
    await client.set(key, 1);
    tokens.add(client.readYourWritesSyncToken);
    await client.pipeline().set(key, 1).get(key).exec();
    tokens.add(client.readYourWritesSyncToken);
    await client.createScript("return 1").exec([], []);
    tokens.add(client.readYourWritesSyncToken);
    expect(tokens.size).toBe(3);
  });
});
