/** The protocol of Upstash's documentation, byte by byte, without a client library. */
import { request } from "node:http";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { z } from "zod";
import { newKey, startFront, type Front } from "./front.ts";

let front: Front;
beforeAll(async () => {
  front = await startFront(inject("redisUrl"));
});
afterAll(() => front.stop());

const auth = (headers: Record<string, string> = {}) => ({
  headers: { authorization: `Bearer ${front.token}`, ...headers },
});

describe("a command in the body", () => {
  test("returns strings, integers, null and arrays as JSON", async () => {
    const key = newKey();
    expect((await front.call("/", ["SET", key, "bar"])).text).toBe('{"result":"OK"}');
    expect((await front.call("/", ["get", key])).json).toEqual({ result: "bar" });
    expect((await front.call("/", ["STRLEN", key])).json).toEqual({ result: 3 });
    expect((await front.call("/", ["GET", newKey()])).json).toEqual({ result: null });
    expect((await front.call("/", ["MGET", key, newKey(), key])).json).toEqual({
      result: ["bar", null, "bar"],
    });
  });

  test("accepts numbers and booleans as arguments and keeps their notation", async () => {
    const key = newKey();
    await front.call("/", ["RPUSH", key, 1, 1.5, true, -0.25]);
    expect((await front.call("/", ["LRANGE", key, 0, -1])).json).toEqual({
      result: ["1", "1.5", "true", "-0.25"],
    });
  });

  test("keeps every digit of a 64-bit integer, in arguments and replies", async () => {
    const key = newKey();
    await front.call("/", undefined, { body: `["SET","${key}",9007199254740993]` });
    expect((await front.call("/", ["GET", key])).json).toEqual({ result: "9007199254740993" });
    await front.call("/", ["SET", key, "9223372036854775806"]);
    expect((await front.call("/", ["INCR", key])).text).toBe('{"result":9223372036854775807}');
  });

  test("that would be stored as other data is refused: bytes that are not UTF-8, a number beyond a double", async () => {
    const key = newKey();
    const stored = [
      Buffer.concat([Buffer.from(`["SET","${key}","a`), Buffer.from([0xff]), Buffer.from('"]')]),
      `["SET","${key}",-1e400]`,
    ];
    for (const body of stored) {
      const response = await front.call("/", undefined, { body });
      expect([response.status, response.json]).toEqual([
        400,
        { error: expect.stringMatching(/not valid UTF-8|a string/) },
      ]);
    }
    expect((await front.call("/", ["EXISTS", key])).json).toEqual({ result: 0 });
  });

  test("keeps nested arrays", async () => {
    const reply = await front.call("/", ["EVAL", "return {1, {'a', {2, {}}}, false, {ok='fine'}}", 0]);
    expect(reply.json).toEqual({ result: [1, ["a", [2, []]], null, "fine"] });
  });

  test("returns an error inside a script's table as text in its place", async () => {
    const reply = await front.call("/", ["EVAL", "return {1, redis.error_reply('MINE no')}", 0]);
    expect(reply.json).toEqual({ result: [1, "MINE no"] });
  });
});

test("a script with Upstash's flag allow-key-locking runs, and its other flags count", async () => {
  const key = newKey();
  const writes = `#!lua flags=allow-key-locking\nreturn redis.call('INCR', KEYS[1])`;
  const reads = writes.replace("=allow", "=no-writes,allow");
  expect((await front.call("/", ["EVAL", writes, 1, key])).json).toEqual({ result: 1 });
  expect((await front.call("/pipeline", [["eval", writes, 1, key]])).json).toEqual([{ result: 2 }]);
  expect((await front.call("/multi-exec", [["EVAL", writes, 1, key]])).json).toEqual([{ result: 3 }]);
  const { json } = await front.call("/", ["SCRIPT", "LOAD", writes]);
  const { result } = z.object({ result: z.string() }).parse(json);
  expect((await front.call("/", ["EVALSHA", result, 1, key])).json).toEqual({ result: 4 });
  expect((await front.call("/", ["EVAL_RO", reads, 1, key])).text).toContain(
    "Write commands are not allowed",
  );
});

describe("a command in the path", () => {
  test("runs with GET, POST, PUT and HEAD, and the response to HEAD has no body", async () => {
    const key = newKey();
    for (const method of ["GET", "POST", "PUT"]) {
      expect((await front.call(`/incr/${key}`, undefined, { method })).status).toBe(200);
    }
    const head = await front.call(`/incr/${key}`, undefined, { method: "HEAD" });
    expect([head.status, head.text]).toEqual([200, ""]);
    expect((await front.call(`/get/${key}`, undefined, { method: "GET" })).json).toEqual({ result: "4" });
  });

  test("uses the body as the last argument before the query's pairs", async () => {
    const key = newKey();
    await front.call(`/set/${key}?EX=100&NX`, undefined, { body: '{"a": "ü"}' });
    expect((await front.call(`/get/${key}`)).json).toEqual({ result: '{"a": "ü"}' });
    expect((await front.call(`/ttl/${key}`)).json).toEqual({ result: 100 });
    expect((await front.call(`/set/${key}/other?NX`)).json).toEqual({ result: null });
  });

  test("stores a binary body byte for byte, and base64 returns it", async () => {
    const key = newKey();
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    await front.call(`/set/${key}`, undefined, { body: bytes });
    const stored = await front.call(`/get/${key}`, undefined, auth({ "upstash-encoding": "base64" }));
    expect(stored.json).toEqual({ result: bytes.toString("base64") });
  });

  test("decodes percent-encoding in every segment, and refuses a path that is not UTF-8", async () => {
    const key = newKey();
    await front.call(`/set/${key}/${encodeURIComponent("a/b ? ü 😀")}/`);
    expect((await front.call(`/get/${key}`)).json).toEqual({ result: "a/b ? ü 😀" });
    expect((await front.call(`/set/${key}/%ff`)).status).toBe(400);
  });
});

describe("the address of a front", () => {
  test("may end in a slash, and so may a path", async () => {
    const key = newKey();
    await front.call(`//set/${key}/v/`);
    const rows = [["GET", key]];
    const paths = ["//pipeline", "/pipeline/", "//multi-exec", "/multi-exec/"];
    for (const path of paths) expect((await front.call(path, rows)).json).toEqual([{ result: "v" }]);
    expect((await front.call("//", ["GET", key])).json).toEqual({ result: "v" });
  });
});

describe("encodings of a response", () => {
  test("base64 encodes every string except a reply that is OK alone", async () => {
    const key = newKey();
    const base64 = auth({ "upstash-encoding": "base64" });
    expect((await front.call("/", ["SET", key, "OK"], base64)).json).toEqual({ result: "OK" });
    expect((await front.call("/", ["MGET", key, newKey()], base64)).json).toEqual({ result: ["T0s=", null] });
    expect((await front.call("/", ["STRLEN", key], base64)).json).toEqual({ result: 2 });
  });

  test("plain replaces bytes that are not UTF-8 with U+FFFD", async () => {
    const key = newKey();
    await front.call(`/set/${key}`, undefined, { body: Buffer.from([0x61, 0xff, 0x62]) });
    expect((await front.call(`/get/${key}`)).json).toEqual({ result: "a\u{FFFD}b" });
  });

  test("resp2 returns the bytes that a TCP client gets, also for errors and pipelines", async () => {
    const key = newKey();
    const resp2 = auth({ "upstash-response-format": "resp2" });
    const set = await front.call("/", ["SET", key, "bär"], resp2);
    expect([set.text, set.headers.get("content-type")]).toEqual(["+OK\r\n", "application/octet-stream"]);
    expect((await front.call("/", ["MGET", key, "none:"], resp2)).text).toBe("*2\r\n$4\r\nbär\r\n$-1\r\n");
    const failed = await front.call("/", ["INCR", key], resp2);
    expect([failed.status, failed.text]).toEqual([400, "-ERR value is not an integer or out of range\r\n"]);
    const rows = [["STRLEN", key], ["NOPE"]];
    expect((await front.call("/pipeline", rows, resp2)).text).toMatch(
      /^:4\r\n-ERR unknown command 'NOPE'.*\r\n$/,
    );
    expect((await front.call("/multi-exec", [["GET", key]], resp2)).json).toEqual([{ result: "bär" }]);
  });

  test("other formats, and resp2 with base64, are refused", async () => {
    const odd = { "upstash-response-format": "xml" };
    const resp2WithBase64 = { "upstash-response-format": "resp2", "upstash-encoding": "base64" };
    for (const headers of [odd, resp2WithBase64])
      expect((await front.call("/", ["PING"], auth(headers))).status).toBe(400);
  });
});

describe("many commands in one request", () => {
  test("a pipeline returns a reply for each row in order, and a bad row fails alone", async () => {
    const key = newKey();
    const rows = [["SET", key, "x"], ["INCR", key], ["NOPE"], ["BLPOP", key, 0], [], [null], ["GET", key]];
    const response = await front.call("/pipeline", rows);
    expect(response.status).toBe(200);
    expect(response.json).toEqual([
      { result: "OK" },
      { error: "ERR value is not an integer or out of range" },
      { error: expect.stringContaining("ERR unknown command 'NOPE'") },
      { error: expect.stringContaining("ERR Command is not available: 'BLPOP'") },
      { error: "ERR empty command" },
      { error: "ERR failed to parse command" },
      { result: "x" },
    ]);
  });

  test("a transaction executes the other rows when one fails during EXEC", async () => {
    const key = newKey();
    const rows = [
      ["SET", key, "1"],
      ["HGET", key, "f"],
      ["INCR", key],
    ];
    const response = await front.call("/multi-exec", rows);
    const wrongType = "WRONGTYPE Operation against a key holding the wrong kind of value";
    expect(response.json).toEqual([{ result: "OK" }, { error: wrongType }, { result: 2 }]);
  });

  test.each([
    ["an unknown command", ["NOPE"]],
    ["a wrong number of arguments", ["GET"]],
    ["a refused command", ["BLPOP", "k", 0]],
    ["an argument that is an object", ["GET", { a: 1 }]],
  ])("a transaction with %s is discarded as a whole, with one error", async (_, row) => {
    const key = newKey();
    const response = await front.call("/multi-exec", [["SET", key, "1"], row]);
    expect(response.status).toBe(400);
    expect(response.json).toEqual({ error: expect.stringMatching(/^ERR /) });
    expect((await front.call("/", ["EXISTS", key])).json).toEqual({ result: 0 });
  });

  test("transactions on the shared connection never interleave", async () => {
    const key = newKey();
    const rows = [
      ["INCR", key],
      ["GET", key],
      ["INCR", key],
    ];
    const responses = await Promise.all(
      Array.from({ length: 50 }, async (_, i) =>
        i % 2 ? front.call("/multi-exec", rows) : front.call(`/incr/${key}`),
      ),
    );
    for (const { json } of responses.filter((_, i) => i % 2)) {
      const [first, second, third] = z.array(z.object({ result: z.coerce.number() })).parse(json);
      expect([second?.result, third?.result]).toEqual([first?.result, (first?.result ?? 0) + 1]);
    }
  });
});

describe("the sync token", () => {
  test("differs in every response, errors included", async () => {
    const responses = [
      await front.call("/", ["PING"]),
      await front.call("/", ["NOPE"]),
      await front.call("/pipeline", [["PING"]]),
      await front.call("/multi-exec", [["PING"]]),
      await front.call("/ping", undefined, { headers: {} }),
    ];
    const tokens = responses.map(({ headers }) => headers.get("upstash-sync-token"));
    expect(new Set(tokens).size).toBe(responses.length);
    expect(tokens).not.toContain(null);
  });
});

describe("the token", () => {
  const routes = [
    "/",
    "/pipeline",
    "/multi-exec",
    "/get/k",
    "/subscribe/c",
    "/psubscribe/p",
    "/nothing-here",
  ];
  const wrong: [string, Record<string, string>][] = [
    ["no header", {}],
    ["an empty bearer", { authorization: "Bearer " }],
    ["another token", { authorization: "Bearer 0123456789abcdef01234567" }],
    ["another scheme", { authorization: "Basic dXNlcjpwYXNz" }],
  ];

  test.each(routes.flatMap((route) => wrong.map(([presented, headers]) => ({ route, presented, headers }))))(
    "for $route with $presented is 401",
    async ({ route, headers }) => {
      const body = JSON.stringify(route === "/" ? ["PING"] : [["PING"]]);
      const response = await front.call(route, undefined, { headers, body });
      expect(response.status).toBe(401);
      expect(response.json).toEqual({ error: "WRONGPASS invalid or missing auth token" });
    },
  );

  test("with one character less or more is 401", async () => {
    for (const token of [front.token.slice(0, -1), `${front.token}0`]) {
      const headers = { authorization: `Bearer ${token}` };
      expect((await front.call("/ping", undefined, { headers })).status).toBe(401);
    }
  });

  test("is accepted in the query, where it does not become an argument", async () => {
    const key = newKey();
    const response = await front.call(`/set/${key}/v?_token=${front.token}&EX=50`, undefined, {
      headers: {},
    });
    expect(response.json).toEqual({ result: "OK" });
    expect((await front.call(`/ttl/${key}`)).json).toEqual({ result: 50 });
  });
});

describe("a request", () => {
  test.each([
    ["/", "", "ERR failed to parse command"],
    ["/", "not json", "ERR failed to parse command"],
    ["/", '{"a":1}', "ERR failed to parse command"],
    ["/", '"PING"', "ERR failed to parse command"],
    ["/", "[]", "ERR empty command"],
    ["/", '[""]', "ERR empty command"],
    ["/", "[7]", "ERR failed to parse command"],
    ["/", '["GET",null]', "ERR null args are not supported"],
    ["/", '["GET",["k"]]', "ERR failed to parse command"],
    ["/pipeline", "[", "ERR failed to parse pipeline request"],
    ["/pipeline", '["GET","k"]', "ERR failed to parse pipeline request"],
    ["/pipeline", "[]", "ERR empty pipeline request"],
    ["/multi-exec", "null", "ERR failed to parse multi-exec request"],
    ["/multi-exec", "[]", "ERR empty multi-exec request"],
  ])("%s with the body %j is a 400 that names the error", async (path, body, error) => {
    const response = await front.call(path, undefined, { body });
    expect([response.status, response.json]).toEqual([400, { error }]);
  });

  test("that Redis refuses is a 400 with the error text of Redis", async () => {
    const response = await front.call("/", ["GET"]);
    expect([response.status, response.json]).toEqual([
      400,
      { error: "ERR wrong number of arguments for 'get' command" },
    ]);
    expect((await front.call("/nothing-here")).json).toEqual({
      error: expect.stringContaining("ERR unknown command"),
    });
  });

  // Fails when the caller reads only that Redis is away, and makes the same request again.
  test("whose script replies arrays nested thousands of levels deep is a 503 that names the cause, and the next one is answered", async () => {
    const script = "local t = {} for i = 1, 3000 do t = {t} end return t";
    const response = await front.call("/", ["EVAL", script, 0]);
    expect([response.status, response.json]).toEqual([503, { error: expect.stringContaining("nested") }]);
    await expect.poll(async () => (await front.call("/", ["PING"])).status).toBe(200);
  });

  test.each(["DELETE", "PATCH", "OPTIONS"])(
    "with the method %s is a 405 that names the right ones",
    async (method) => {
      const response = await front.call("/ping", undefined, { method });
      expect([response.status, response.json]).toEqual([
        405,
        { error: expect.stringContaining("not allowed") },
      ]);
      expect(response.headers.get("allow")).toBe("GET, HEAD, POST, PUT");
    },
  );

  // Fails when the compressed bytes are stored as the value.
  test("with a compressed body is a 415, and stores nothing", async () => {
    const key = newKey();
    const init = auth({ "content-encoding": "gzip" });
    const response = await front.call(`/set/${key}`, undefined, { ...init, body: gzipSync("value") });
    expect([response.status, response.json, response.headers.get("accept-encoding")]).toEqual([
      415,
      { error: expect.stringContaining("Content-Encoding") },
      "identity",
    ]);
    expect((await front.call("/", ["EXISTS", key])).json).toEqual({ result: 0 });
    const plain = await front.call(`/set/${key}`, undefined, {
      ...auth({ "content-encoding": "identity" }),
      body: "value",
    });
    expect(plain.status).toBe(200);
  });

  test("with a body over 10 MiB is a 413 that names the limit, with and without a Content-Length", async () => {
    const body = Buffer.alloc(11 * 1024 * 1024, "x");
    const error = `ERR max request size exceeded. Limit: 10485760 bytes, Actual: ${body.length} bytes`;
    const withLength = await front.call(`/set/${newKey()}`, undefined, { body });
    expect([withLength.status, withLength.json]).toEqual([413, { error }]);
    const status = await new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${front.token}`, "transfer-encoding": "chunked" };
      const req = request(`${front.url}/set/x`, { method: "POST", headers }, (res) =>
        resolve(res.statusCode),
      );
      req.on("error", reject).end(body);
    });
    expect(status).toBe(413);
  });

  test("with a value of 8 MiB succeeds, and so does the reply", async () => {
    const key = newKey();
    const value = "é".repeat(4 * 1024 * 1024);
    await front.call("/", ["SET", key, value]);
    const { json } = await front.call("/", ["GET", key]);
    expect(json).toEqual({ result: value });
    await front.call("/", ["DEL", key]);
  });
});

describe("a command that the shared connection cannot serve", () => {
  const blocking = [
    ["BLPOP", "k", 0],
    ["brpop", "k", 0],
    ["BLMOVE", "a", "b", "LEFT", "LEFT", 0],
    ["BRPOPLPUSH", "a", "b", 0],
    ["BLMPOP", 0, 1, "k", "LEFT"],
    ["BZPOPMIN", "k", 0],
    ["BZPOPMAX", "k", 0],
    ["BZMPOP", 0, 1, "k", "MIN"],
    ["WAIT", 1, 0],
    ["WAITAOF", 1, 0, 0],
    ["XREAD", "BLOCK", 0, "STREAMS", "s", "$"],
    ["XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "block", 0, "STREAMS", "s", ">"],
    ["XREADGROUP", "GROUP", "streams", "streams", "BLOCK", 1, "STREAMS", "s", ">"],
  ];
  const stateful = [
    "SELECT 1",
    "AUTH x",
    "HELLO 3",
    "QUIT",
    "RESET",
    "CLIENT REPLY OFF",
    "CLIENT PAUSE 1",
    "MONITOR",
  ];
  const others = [
    "SUBSCRIBE c",
    "MULTI",
    "EXEC",
    "WATCH k",
    "SHUTDOWN",
    "DEBUG SLEEP 1",
    "SCRIPT DEBUG YES",
    "CONFIG GET *",
  ];
  const refused = [...blocking, ...[...stateful, ...others].map((line) => line.split(" "))];

  test.each(refused.map((command) => ({ command })))(
    "$command is refused with a reason",
    async ({ command }) => {
      const response = await front.call("/", command);
      expect(response.status).toBe(400);
      expect(response.json).toEqual({
        error: expect.stringMatching(/^ERR Command is not available: '.+'. Reason: .+/),
      });
      expect((await front.call("/ping")).json).toEqual({ result: "PONG" });
    },
  );

  test("MONITOR, also as a path, is not supported: nothing else is recommended in its place", async () => {
    const asStream = { headers: { authorization: `Bearer ${front.token}`, accept: "text/event-stream" } };
    for (const response of [
      await front.call("/", ["MONITOR"]),
      await front.call("/monitor", undefined, asStream),
    ]) {
      expect(response.status).toBe(400);
      expect(response.json).toEqual({ error: expect.stringContaining("not supported") });
      expect(response.text).not.toContain("subscribe");
    }
  });

  test("is not XREAD without BLOCK, even from a stream called block", async () => {
    const response = await front.call("/", ["XREAD", "COUNT", 1, "STREAMS", "block", "0"]);
    expect(response.json).toEqual({ result: null });
  });

  test("is not XREADGROUP without BLOCK for a group or a consumer called block", async () => {
    const key = newKey();
    await front.call("/", ["XGROUP", "CREATE", key, "block", "$", "MKSTREAM"]);
    const response = await front.call("/", ["XREADGROUP", "GROUP", "block", "BLOCK", "STREAMS", key, ">"]);
    expect(response.json).toEqual({ result: null });
  });

  test("is not CLIENT SETINFO", async () => {
    const response = await front.call("/", ["CLIENT", "SETINFO", "LIB-NAME", "mine"]);
    expect(response.json).toEqual({ error: expect.not.stringContaining("not available") });
  });
});
