import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startSearchServer } from "../../../local/demo/search-server.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import type { Json } from "../../../shared/contracts/json.ts";

type Seen = { method: string; url: string; headers: IncomingMessage["headers"]; body: string };

let server: Server;
let base: string;
let seen: Seen[] = [];
let answer: (response: ServerResponse, request: Seen) => void = () => {};

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const one = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, body };
      seen.push(one);
      answer(response, one);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  base = `http://127.0.0.1:${address.port}`;
});
afterAll(() => {
  server.close();
});

const json =
  (status: number, value: Json, headers: { [name: string]: string } = {}) =>
  (response: ServerResponse) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(value));
  };

function call(
  tool: object,
  args: Json = {},
  { allow = "127.0.0.1", signal = new AbortController().signal, timeoutMs = 5_000 } = {},
): Promise<Json> {
  seen = [];
  const stored = { name: "t", tool_type: "http", url: base, ...tool };
  return createTools(createEgress(allow), timeoutMs).call({
    tool: stored,
    args,
    effectKey: "run:s:1:tool.1",
    signal,
  });
}

describe("an HTTP tool", () => {
  test("sends a GET's arguments in the places of its URL and the rest as query", async () => {
    answer = json(200, { ok: true });
    const url = `${base}/users/{id}/{data.team}?v=1`;
    const result = await call({ url }, { id: "a/b", team: "x y", q: "z&1", n: 2, list: [1], none: null });
    expect(result).toEqual({ ok: true });
    expect(seen[0]).toMatchObject({
      method: "GET",
      url: "/users/a%2Fb/x%20y?v=1&q=z%261&n=2&list=%5B1%5D",
      body: "",
    });
  });

  test("sends a POST's arguments as JSON, all of them, with its headers and the effect's key", async () => {
    answer = json(201, { id: 7, extra: 1 });
    const tool = {
      url: `${base}/{id}`,
      method: "POST",
      headers: { "X-Key": "sesame-1234" },
      outputSchema: { properties: { id: {} } },
    };
    expect(await call(tool, { id: 1, text: "hi" })).toEqual({ id: 7 });
    expect(seen[0]).toMatchObject({ method: "POST", url: "/1", body: '{"id":1,"text":"hi"}' });
    expect(seen[0]?.headers).toMatchObject({ "x-key": "sesame-1234", "idempotency-key": "run:s:1:tool.1" });
  });

  test("answers text when the other side does not send JSON", async () => {
    answer = (response) => response.end("plain");
    expect(await call({})).toBe("plain");
  });

  test.each([
    [400, "tool_rejected", "ToolRejection"],
    [404, "tool_rejected", "ToolRejection"],
    [401, "tool_unauthorized", "TerminalError"],
    [403, "tool_unauthorized", "TerminalError"],
    [302, "tool_redirected", "TerminalError"],
    [429, "tool_unavailable", "RetryableError"],
    [500, "tool_unavailable", "RetryableError"],
    [503, "tool_unavailable", "RetryableError"],
  ])("takes HTTP %i for %s (%s)", async (status, code, name) => {
    answer = json(status, { error: "no" }, { location: `${base}/elsewhere`, "retry-after": "3" });
    await expect(call({})).rejects.toMatchObject({ code, name });
    expect(seen).toHaveLength(1);
    if (name === "RetryableError")
      await expect(call({})).rejects.toMatchObject({ retryAfterMs: 3_000, answered: true });
  });

  test("quotes why a call was refused, but not its own secrets", async () => {
    answer = (response, { headers }) =>
      json(422, { error: `bad q; you sent ${String(headers["authorization"])}` })(response);
    const error = await call({ headers: { authorization: "Bearer top-secret-token" } }).catch(
      (thrown: unknown) => thrown,
    );
    expect(String(error)).toContain("bad q");
    expect(String(error)).not.toContain("top-secret-token");
  });

  test("may be tried again when the connection breaks", async () => {
    answer = (response) => response.destroy();
    await expect(call({})).rejects.toMatchObject({
      code: "unreachable",
      name: "RetryableError",
      answered: false,
    });
  });

  test("fails on an answer over 1 MiB instead of cutting it", async () => {
    answer = (response) => response.end("x".repeat(1024 * 1024 + 1));
    await expect(call({})).rejects.toMatchObject({ code: "answer_too_large" });
  });

  test("refuses arguments that do not fill its URL", async () => {
    await expect(call({ url: `${base}/{id}` }, {})).rejects.toMatchObject({ name: "ToolRejection" });
    await expect(call({}, "text")).rejects.toMatchObject({ name: "ToolRejection" });
    expect(seen).toEqual([]);
  });

  test("stops at once when its run is stopped, and closes the connection", async () => {
    const stop = new AbortController();
    const reason = new Error("cancelled");
    const closed = new Promise((resolve) => {
      answer = (response) => {
        response.once("close", resolve);
        stop.abort(reason);
      };
    });
    await expect(call({}, {}, { signal: stop.signal })).rejects.toBe(reason);
    await closed;
  });

  // Red when: a call has no limit of its own, or its error does not say which it was.
  test("that does not answer in time may be tried again, and says which limit it was", async () => {
    const closed = Promise.withResolvers<void>();
    answer = (response) => void response.once("close", () => closed.resolve());
    await expect(call({}, {}, { timeoutMs: 200 })).rejects.toMatchObject({
      name: "RetryableError",
      code: "tool_timeout",
      message: expect.stringMatching(/^127\.0\.0\.1:\d+ did not answer in 0\.2 s$/),
      answered: false,
    });
    await closed.promise;
  });

  test("does not reach this machine unless that is allowed", async () => {
    await expect(call({}, {}, { allow: "" })).rejects.toMatchObject({ code: "egress_blocked" });
    expect(seen).toEqual([]);
  });
});

test("the demo search answers every query with the same results, labelled as demo data", async () => {
  const search = await startSearchServer(0);
  const tool = { url: `${search.url}/search` };
  const first = await call(tool, { query: "tea" });
  expect(await call(tool, { query: "tea" })).toEqual(first);
  expect(JSON.stringify(first)).toContain("demo data");
  await expect(call(tool, {})).rejects.toMatchObject({ name: "ToolRejection" });
  await search.stop();
});
