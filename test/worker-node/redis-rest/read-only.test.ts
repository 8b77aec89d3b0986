/** The second token, with which a caller only reads. */
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { readRestConfig } from "../../../worker-node/redis-rest/rest-config.ts";
import { newKey, startFront, type Front } from "./front.ts";

const READER = "only-reads-0123456789";
let front: Front;
beforeAll(async () => {
  front = await startFront(inject("redisUrl"), { readOnlyToken: READER });
});
afterAll(() => front.stop());

const asReader = (headers: Record<string, string> = {}) => ({
  headers: { authorization: `Bearer ${READER}`, ...headers },
});
const refusal = (name: string) => ({
  error: `NOPERM this user has no permissions to run the '${name}' command or its subcommand`,
});

describe("the read-only token", () => {
  test("reads, in every form of a request", async () => {
    const key = newKey();
    await front.call("/", ["SET", key, "v"]);
    await front.call("/", ["XADD", `${key}:s`, "1-1", "a", "b"]);
    for (const [command, result] of [
      [["GET", key], "v"],
      [["ping"], "PONG"],
      [["exists", key, key], 2],
      [["OBJECT", "ENCODING", key], "embstr"],
      [["XREAD", "STREAMS", `${key}:s`, "0"], [[`${key}:s`, [["1-1", ["a", "b"]]]]]],
    ] as const) {
      expect((await front.call("/", command, { ...asReader(), body: JSON.stringify(command) })).json).toEqual(
        {
          result,
        },
      );
    }
    expect((await front.call(`/get/${key}`, undefined, asReader())).json).toEqual({ result: "v" });
    expect((await front.call(`/get/${key}?_token=${READER}`, undefined, { headers: {} })).json).toEqual({
      result: "v",
    });
    expect((await front.call("/multi-exec", [["GET", key]], asReader())).json).toEqual([{ result: "v" }]);
  });

  test.each([
    ["SET", "k", "v"],
    ["del", "k"],
    ["GETDEL", "k"],
    ["GETEX", "k", "EX", "5"],
    ["EVAL", "return 1", "0"],
    ["EVAL_RO", "return 1", "0"],
    ["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"],
    ["XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"],
    ["PUBLISH", "c", "m"],
    ["SORT", "k"],
    ["FLUSHALL"],
    ["KEYS", "*"],
    ["SCAN", "0"],
    ["SCRIPT", "FLUSH"],
    ["COMMAND"],
    ["INFO"],
    ["NOPE"],
  ])("may not run %s", async (...command) => {
    const response = await front.call("/", command, asReader());
    expect([response.status, response.json]).toEqual([400, refusal(command[0]?.toLowerCase() ?? "")]);
  });

  test("is refused for the writes of a pipeline, and its reads are answered", async () => {
    const key = newKey();
    await front.call("/", ["SET", key, "v"]);
    const response = await front.call(
      "/pipeline",
      [
        ["GET", key],
        ["DEL", key],
        ["GET", key],
      ],
      asReader(),
    );
    expect(response.json).toEqual([{ result: "v" }, refusal("del"), { result: "v" }]);
  });

  test("discards a transaction that holds a write", async () => {
    const key = newKey();
    const response = await front.call(
      "/multi-exec",
      [
        ["GET", key],
        ["SET", key, "v"],
      ],
      asReader(),
    );
    expect([response.status, response.json]).toEqual([400, refusal("set")]);
    expect((await front.call("/", ["EXISTS", key])).json).toEqual({ result: 0 });
  });

  test("opens no subscription", async () => {
    for (const path of ["/subscribe/c", "/psubscribe/c*"]) {
      const response = await front.call(path, undefined, asReader({ accept: "text/event-stream" }));
      expect([response.status, response.json]).toEqual([400, refusal(path.split("/")[1] ?? "")]);
    }
  });

  test("works with Upstash's client", async () => {
    const key = newKey();
    await front.sdk().set(key, { a: 1 });
    const reader = front.sdk({ token: READER });
    expect(await reader.get(key)).toEqual({ a: 1 });
    await expect(reader.set(key, "x")).rejects.toThrow("NOPERM");
    expect(await front.sdk().get(key)).toEqual({ a: 1 });
  });
});

test("a read-only token that is the other token is refused at the start", () => {
  const env = { REDIS_URL: "redis://127.0.0.1:6379", REDIS_REST_TOKEN: "one" };
  expect(readRestConfig({ ...env, REDIS_REST_READONLY_TOKEN: "two" }).readOnlyToken).toBe("two");
  expect(() => readRestConfig({ ...env, REDIS_REST_READONLY_TOKEN: "one" })).toThrow("is the same");
});
