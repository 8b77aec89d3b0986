import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Server } from "node:net";
import zlib from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startSearchServer } from "../../../local/demo/search-server.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { refusingFiles, refusingOutbox, refusingStore } from "../fakes.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { Files } from "../../../worker-node/engine/ports.ts";
import { cpuMs } from "../../services/cpu-time.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";

const acme = TenantId.parse("acme");

type ReceivedRequest = { method: string; url: string; headers: IncomingMessage["headers"]; body: string };

let server: Server;
let base: string;
let received: ReceivedRequest[] = [];
let respond: (response: ServerResponse, request: ReceivedRequest) => void = () => {};

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const asReceived = {
        method: request.method ?? "",
        url: request.url ?? "",
        headers: request.headers,
        body,
      };
      received.push(asReceived);
      respond(response, asReceived);
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
  {
    allow = "127.0.0.1",
    signal = new AbortController().signal,
    timeoutMs = 5_000,
    files = refusingFiles,
    correlationId = "order 7/é",
  } = {},
): Promise<Json> {
  received = [];
  const stored = { name: "t", tool_type: "http", url: base, ...tool };
  return createTools({
    egress: createEgress(allow),
    timeoutMs: timeoutMs,
    masterKey: null,
    mail: refusingOutbox,
    store: refusingStore,
  }).call({
    tenantId: acme,
    tool: stored,
    args,
    effectKey: "run:s:1:tool.1",
    files,
    signal,
    correlationId,
  });
}

describe("an HTTP tool", () => {
  // Fails when the logs of a tool's server cannot be searched by the id of the request that caused the call.
  test("gets the correlation id of the run, in the form of a header, unless it has such a header itself", async () => {
    respond = json(200, { ok: true });
    await call({});
    expect(received[0]?.headers["x-correlation-id"]).toBe("order 7/%C3%A9");
    await call({ headers: { "X-Correlation-ID": "own" } });
    expect(received[0]?.headers["x-correlation-id"]).toBe("own");
  });

  test("sends a GET's arguments in the placeholders of its URL and the rest as a query", async () => {
    respond = json(200, { ok: true });
    const url = `${base}/users/{id}/{data.team}?v=1`;
    const result = await call(
      { url },
      {
        id: "a/b",
        team: "x y",
        q: "z&1",
        n: 2,
        list: [1, "b,c", null],
        empty: [],
        rows: [{ a: 1 }],
        none: null,
      },
    );
    expect(result).toEqual({ ok: true });
    expect(received[0]).toMatchObject({
      method: "GET",
      url: "/users/a%2Fb/x%20y?v=1&q=z%261&n=2&list=1&list=b%2Cc&rows=%5B%7B%22a%22%3A1%7D%5D",
      body: "",
    });
  });

  // Fails when an answer that quotes its request brings a secret of the tool into state and events.
  test("has no credential in its result when the server quotes them, and keeps ordinary values", async () => {
    respond = (response, request) =>
      json(200, { url: request.url, got: request.headers["authorization"] ?? "", team: "marketing-team" })(
        response,
      );
    const headers = { Authorization: "Bearer sesame-1234-abcd", "X-Team": "marketing-team" };
    const result = await call({ url: `${base}/x?token=a%20b%2Bc`, headers });
    expect(result).toEqual({ url: "/x?token=***", got: "***", team: "marketing-team" });
  });

  test("sends all arguments of a POST as JSON, with the tool's headers and the effect key", async () => {
    respond = json(201, { id: 7, extra: 1 });
    const tool = {
      url: `${base}/{id}`,
      method: "POST",
      headers: { "X-Key": "sesame-1234" },
      outputSchema: { properties: { id: {} } },
    };
    expect(await call(tool, { id: 1, text: "hi" })).toEqual({ id: 7 });
    expect(received[0]).toMatchObject({ method: "POST", url: "/1", body: '{"id":1,"text":"hi"}' });
    expect(received[0]?.headers).toMatchObject({
      "x-key": "sesame-1234",
      "idempotency-key": "run:s:1:tool.1",
    });
  });

  // Fails when JSON is sent under the type of a form.
  test("sends a form where its Content-Type is that of one", async () => {
    respond = json(200, {});
    const headers = { "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8" };
    const args = { grant: "a b", tags: ["x", "y&"], n: 12, on: true, none: null, more: { k: "v" } };
    await call({ method: "POST", headers }, args);
    expect(received[0]?.body).toBe("grant=a+b&tags=x&tags=y%26&n=12&on=true&more=%7B%22k%22%3A%22v%22%7D");
    expect(received[0]?.headers["content-type"]).toBe(headers["Content-Type"]);
  });

  // Fails when the body is JSON, of which a server of forms reads no field.
  test("sends parts where its Content-Type is multipart/form-data", async () => {
    respond = json(200, {});
    const headers = { "content-type": "multipart/form-data" };
    await call({ method: "POST", headers }, { to: "a b", tags: ["x", "y"], more: { k: "v" } });
    const [request] = received;
    const sent = new Response(request?.body ?? "", {
      headers: { "content-type": request?.headers["content-type"] ?? "" },
    });
    expect([...(await sent.formData())]).toEqual([
      ["to", "a b"],
      ["tags", "x"],
      ["tags", "y"],
      ["more", '{"k":"v"}'],
    ]);
  });

  test("names itself to servers that refuse a request without a User-Agent, as the tool says or by the product's name", async () => {
    respond = json(200, {});
    await call({});
    expect(received[0]?.headers["user-agent"]).toBe("synapse-edge");
    await call({ headers: { "USER-AGENT": "acme/1.0 (ops@acme.example)" } });
    expect(received[0]?.headers["user-agent"]).toBe("acme/1.0 (ops@acme.example)");
  });

  // Fails when an answer is read as numbers of JavaScript, or arguments are sent as they are carried.
  test("keeps the digits of integers beyond 2^53, in its answer and in its arguments", async () => {
    respond = (response) =>
      response.end('{"id":12345678901234567890,"rows":[{"n":-9007199254740993,"m":7}]}');
    const inputSchema = {
      type: "object",
      properties: {
        id: { type: "integer" },
        name: { type: "string" },
        either: { type: ["string", "integer"] },
        list: { type: "array", items: { type: "object", properties: { n: { type: "number" } } } },
      },
    };
    const digits = "12345678901234567890";
    const args = {
      id: digits,
      name: digits,
      either: digits,
      list: [{ n: digits, other: digits }],
      free: digits,
    };
    expect(await call({ method: "POST", inputSchema }, args)).toEqual({
      id: digits,
      rows: [{ n: "-9007199254740993", m: 7 }],
    });
    expect(received[0]?.body).toBe(
      `{"id":${digits},"name":"${digits}","either":"${digits}","list":[{"n":${digits},"other":"${digits}"}],"free":"${digits}"}`,
    );
    await call({ url: `${base}/{id}`, inputSchema }, { id: digits, q: digits });
    expect(received[0]?.url).toBe(`/${digits}?q=${digits}`);
  });

  test("returns text when the response is not JSON", async () => {
    respond = (response) => response.end("plain");
    expect(await call({})).toBe("plain");
  });

  // Fails when null, with which Firebase says that there is no such thing, is the text "null", which is true in a condition.
  test("returns null when the response is null", async () => {
    respond = json(200, null);
    expect(await call({})).toBeNull();
  });

  // Fails when the run does not learn what it has created, or takes a thing that was created for a failure.
  test.each([
    [201, "POST"],
    [202, "PUT"],
    [303, "POST"],
    [303, "DELETE"],
  ])("returns where the result is, after HTTP %i to a %s without another answer", async (status, method) => {
    const location = "/things/42?api_key=sesame-1234";
    respond = (response) => response.writeHead(status, { location }).end();
    const headers = { "X-Api-Key": "sesame-1234" };
    expect(await call({ method, headers })).toEqual({ location: "/things/42?api_key=***" });
    respond = json(201, { id: 42 }, { location });
    expect(await call({ method, headers })).toEqual({ id: 42 });
  });

  test("that is redirected names the other address, without what it has of the tool's secrets", async () => {
    respond = (response) => response.writeHead(301, { location: `${base}/other/sesame-1234/?key=1` }).end();
    await expect(call({ headers: { "X-Api-Key": "sesame-1234" } })).rejects.toMatchObject({
      code: "tool_redirected",
      message: `the tool t answered HTTP 301 to ${base}/other/***/: redirects are not followed`,
    });
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
  ])("turns HTTP %i into %s (%s)", async (status, code, name) => {
    const wait = name === "RetryableError" ? { "retry-after": "3" } : {};
    respond = json(status, { error: "no" }, { location: `${base}/elsewhere`, ...wait });
    await expect(call({})).rejects.toMatchObject({ code, name });
    expect(received).toHaveLength(1);
    if (name === "RetryableError") await expect(call({})).rejects.toMatchObject({ retryAfterMs: 3_000 });
  });

  // Fails when a call that may have been carried out is repeated under another key: a tool that knows the key would act twice.
  test.each([
    [408, false],
    [425, true],
    [429, true],
    [500, false],
    [502, false],
    [503, false],
    [504, false],
    [524, false],
  ])("is called again after HTTP %i; under another effect key: %s", async (status, answered) => {
    respond = json(status, { error: "no" });
    await expect(call({ method: "POST" })).rejects.toMatchObject({ code: "tool_unavailable", answered });
  });

  test("quotes the response of a refusal without the values of its headers", async () => {
    respond = (response, { headers }) =>
      json(422, { error: `bad q; you sent ${String(headers["authorization"])}` })(response);
    const error = await call({ headers: { authorization: "Bearer top-secret-token" } }).catch(
      (thrown: unknown) => thrown,
    );
    expect(String(error)).toContain("bad q");
    expect(String(error)).not.toContain("top-secret-token");
  });

  // Fails when the model gets the beginning of a long list of faults, or the run's error all of it.
  test("gives the model the whole text of a refusal, and its error quotes the beginning", async () => {
    const reason = `bad q: ${"x".repeat(2_000)}`;
    respond = (response, { headers }) =>
      json(422, { reason, sent: String(headers["authorization"]) })(response);
    const error: unknown = await call({ headers: { authorization: "Bearer top-secret-token" } }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({
      whole: expect.stringContaining(reason),
      message: expect.not.stringContaining(reason),
    });
    expect(error).toMatchObject({ whole: expect.not.stringContaining("top-secret-token") });
  });

  test("fails with a retryable error when the connection breaks", async () => {
    respond = (response) => response.destroy();
    await expect(call({})).rejects.toMatchObject({
      code: "unreachable",
      name: "RetryableError",
      answered: false,
    });
  });

  test("fails on a response over 1 MiB and does not truncate it", async () => {
    respond = (response) => response.end("x".repeat(1024 * 1024 + 1));
    await expect(call({})).rejects.toMatchObject({ code: "answer_too_large" });
  });

  test.each([
    ["gzip", (body: Uint8Array) => zlib.gzipSync(body)],
    ["x-gzip", (body: Uint8Array) => zlib.gzipSync(body)],
    ["deflate", (body: Uint8Array) => zlib.deflateSync(body)],
    ["deflate", (body: Uint8Array) => zlib.deflateRawSync(body)],
    ["br", (body: Uint8Array) => zlib.brotliCompressSync(body)],
    ["zstd", (body: Uint8Array) => zlib.zstdCompressSync(body)],
    ["deflate, GZIP", (body: Uint8Array) => zlib.gzipSync(zlib.deflateSync(body))],
    ["identity", (body: Uint8Array) => body],
    ["utf-8", (body: Uint8Array) => body],
  ])("reads an answer and a refusal that the server encodes as %s unasked", async (encoding, encode) => {
    const send = (status: number, body: string) => (response: ServerResponse) => {
      response.writeHead(status, { "content-encoding": encoding });
      response.end(encode(Buffer.from(body)));
    };
    respond = send(200, '{"answer":"ök"}');
    expect(await call({})).toEqual({ answer: "ök" });
    respond = send(422, '{"error":"bad q"}');
    await expect(call({})).rejects.toThrow("bad q");
  });

  test.each([
    ["compress", Buffer.from("x"), "is not known"],
    ["gzip", Buffer.from('{"answer":"plain"}'), "and it is not"],
    ["gzip", zlib.gzipSync("x".repeat(5_000)).subarray(0, 20), "ends before its end"],
  ])(
    "fails with a code and the fault of an encoding that cannot be read: %s",
    async (encoding, body, fault) => {
      respond = (response) => {
        response.writeHead(200, { "content-encoding": encoding });
        response.end(body);
      };
      await expect(call({})).rejects.toMatchObject({
        name: "ToolRejection",
        code: "answer_encoding",
        message: expect.stringMatching(new RegExp(`${encoding}.*${fault}`)),
      });
    },
  );

  test("limits a decoded answer to 1 MiB, and its encoded form to no size", async () => {
    const send = (body: Uint8Array) => {
      // Before the call: the tool's time must not pass meanwhile.
      const packed = zlib.gzipSync(body);
      return (response: ServerResponse) => {
        response.writeHead(200, { "content-encoding": "gzip" });
        response.end(packed);
      };
    };
    const random = randomBytes(1024 * 1024).map((byte) => byte & 0x7f);
    respond = send(random);
    expect(await call({})).toHaveLength(1024 * 1024);
    for (const size of [1024 * 1024 + 1, 200 * 1024 * 1024]) {
      respond = send(new Uint8Array(size));
      await expect(call({})).rejects.toMatchObject({ code: "answer_too_large" });
    }
  });

  // Fails when a body that cannot be read hides what the status says.
  test.each<[string, object, (response: ServerResponse) => void]>([
    ["too large", { "x-a": "1" }, (response) => response.end("x".repeat(1024 * 1024 + 1))],
    ["not what it says", { "content-encoding": "gzip" }, (response) => response.end("plain")],
    ["no text", { "content-type": "image/png" }, (response) => response.end(Buffer.from([0x89, 0x50, 0]))],
    ["cut", { "content-length": 9 }, (response) => response.write("bad", () => void response.destroy())],
  ])("is known by its status when the body of its refusal is %s", async (_, headers, end) => {
    const expected = [
      [400, { name: "ToolRejection", code: "tool_rejected" }],
      [401, { name: "TerminalError", code: "tool_unauthorized" }],
      [429, { name: "RetryableError", code: "tool_unavailable", retryAfterMs: 7_000 }],
      [500, { name: "RetryableError", code: "tool_unavailable", answered: false }],
    ] as const;
    for (const [status, error] of expected) {
      respond = (response) => {
        response.writeHead(status, { ...headers, ...(status === 429 ? { "retry-after": "7" } : {}) });
        end(response);
      };
      await expect(call({})).rejects.toMatchObject(error);
    }
  });

  // Fails when letters of another charset become marks of replacement, or a mark before JSON makes a text of it.
  test.each<[string, string, Uint8Array]>([
    ["a byte order mark", "application/json", Buffer.from('\ufeff{"n":"Müller"}')],
    ["ISO 8859-1", "application/json; charset=iso-8859-1", Buffer.from('{"n":"Müller"}', "latin1")],
    ["Windows-1252 without its name", "text/html", Buffer.from('{"n":"Müller"}', "latin1")],
    ["UTF-16", 'text/json; charset="utf-16le"', Buffer.from('{"n":"Müller"}', "utf16le")],
    ["UTF-16 by its mark", "", Buffer.from('\ufeff{"n":"Müller"}', "utf16le")],
    ["a charset that does not exist", "text/json; charset=utf-97", Buffer.from('{"n":"Müller"}')],
  ])("is read in its charset: %s", async (_, type, body) => {
    respond = (response) => {
      response.writeHead(200, type === "" ? {} : { "content-type": type });
      response.end(body);
    };
    expect(await call({})).toEqual({ n: "Müller" });
  });

  test.each([304, 303])("HTTP %i without another address names none", async (status) => {
    respond = (response) => response.writeHead(status).end();
    await expect(call({ method: "POST" })).rejects.toMatchObject({
      code: "tool_redirected",
      message: `the tool t answered HTTP ${status}: redirects are not followed`,
    });
  });

  // Fails when a charset that the bytes cannot have, and that only the program named which wrote them, is taken for theirs.
  test.each(["utf-8", "utf-16"])(
    "is no %s because it says so: Windows-1252 where it is no UTF-8",
    async (charset) => {
      const start = `<?xml version="1.0" encoding="${charset}"?><a>`;
      respond = (response) => {
        response.writeHead(200, { "content-type": "application/xml" });
        response.end(Buffer.from(`${start}M\u00fcller</a>`, "latin1"));
      };
      expect(await call({})).toBe(`${start}Müller</a>`);
    },
  );

  // Fails when the answer is read in Windows-1252: all its letters are then wrong, without an error.
  test.each([
    ["application/xml", '<?xml version="1.0" encoding="Shift_JIS"?><a>'],
    ["text/html", '<html><head><meta charset="shift_jis"><p>'],
    ["text/html", '<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">'],
  ])("is read in the charset that itself names: %s, %s", async (type, start) => {
    respond = (response) => {
      response.writeHead(200, { "content-type": type });
      response.end(Buffer.concat([Buffer.from(start), Buffer.from([0x93, 0xfa, 0x96, 0x7b])]));
    };
    expect(await call({})).toBe(`${start}日本`);
  });

  // Fails when a name that the bytes disprove counts: templates name UTF-8 also where the server writes another charset.
  test.each(["UTF-8", "utf8", "UTF-16"])(
    "is read in Windows-1252 when it names %s and is not",
    async (name) => {
      const text = `<?xml version="1.0" encoding="${name}"?><a>Müller</a>`;
      respond = (response) => {
        response.writeHead(200, { "content-type": "application/xml" });
        response.end(Buffer.from(text, "latin1"));
      };
      expect(await call({})).toBe(text);
    },
  );

  test("keeps the other letters of UTF-8 in which one was cut", async () => {
    respond = (response) => void response.end(Buffer.from("Müller ü").subarray(0, -1));
    expect(await call({})).toBe("Müller \ufffd");
  });

  // Fails when a picture or a PDF becomes a hundred thousand characters of a model's context.
  test.each(["image/png", "application/pdf", ""])("whose answer is no text is refused: %s", async (type) => {
    respond = (response) => {
      response.writeHead(200, type === "" ? {} : { "content-type": type });
      response.end(randomBytes(5_000));
    };
    await expect(call({})).rejects.toMatchObject({
      name: "ToolRejection",
      code: "answer_encoding",
      message: `the tool t answered, but the answer is no text${type === "" ? "" : `, but ${type}`}`,
    });
  });

  // Fails when a rate limit that comes as 403, as GitHub's does, passes for a wrong key.
  test.each<[number, object, object, number | undefined]>([
    [403, { "retry-after": "60" }, {}, 60_000],
    [403, { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "30" }, {}, 30_000],
    [429, { "ratelimit-remaining": "0", "ratelimit-reset": "4" }, {}, 4_000],
    [429, {}, { message: "You are being rate limited.", retry_after: 1.5 }, 1_500],
    [403, { "x-ratelimit-remaining": "0" }, {}, undefined],
  ])("waits as its rate limit says: %j %j %j", async (status, headers, body, retryAfterMs) => {
    respond = (response) => {
      response.writeHead(status, { ...headers });
      response.end(JSON.stringify(body));
    };
    await expect(call({})).rejects.toMatchObject({
      name: "RetryableError",
      code: "tool_unavailable",
      message: `the tool t answered HTTP ${status}: a rate limit`,
      retryAfterMs,
    });
    respond = json(403, {}, { "x-ratelimit-remaining": "41" });
    await expect(call({})).rejects.toMatchObject({ code: "tool_unauthorized" });
  });

  test("that cannot be reached is named with the reason", async () => {
    await expect(call({ url: "http://127.0.0.1:9/" })).rejects.toMatchObject({ code: "egress_blocked" });
    await expect(call({ url: "http://127.0.0.1:2/" })).rejects.toMatchObject({
      code: "unreachable",
      message: "127.0.0.1:2 cannot be reached, or closed the connection (ECONNREFUSED)",
    });
  });

  test("fills placeholders of its URL that are written with spaces", async () => {
    respond = json(200, {});
    await call({ url: `${base}/{ id }/{data.id }` }, { id: "7" });
    expect(received[0]?.url).toBe("/7/7");
  });

  test("does not make a URL longer than 1 MiB", async () => {
    const startedAt = cpuMs();
    const long = { id: "x".repeat(900_000), q: "y".repeat(200_000) };
    for (const url of [`${base}/${"{id}".repeat(400)}`, `${base}/{id}`]) {
      await expect(call({ url }, long)).rejects.toMatchObject({ name: "ToolRejection", code: "template" });
    }
    expect(cpuMs() - startedAt).toBeLessThan(2_000);
    expect(received).toEqual([]);
  });

  test("rejects arguments that leave a placeholder of its URL empty", async () => {
    await expect(call({ url: `${base}/{id}` }, {})).rejects.toMatchObject({ name: "ToolRejection" });
    await expect(call({}, "text")).rejects.toMatchObject({ name: "ToolRejection" });
    expect(received).toEqual([]);
  });

  // Fails when an argument, which may be what a stranger wrote, leads the tool's credentials to another path.
  test.each(["..", ".", ""])(
    "does not let the argument %j lead to another path than its URL has",
    async (id) => {
      for (const url of [`${base}/users/{id}/mail`, `${base}/users/{ id }`, `${base}/users/{id}?v={id}`]) {
        await expect(call({ url }, { id })).rejects.toMatchObject({
          name: "ToolRejection",
          message: expect.stringMatching(/^the part \{ ?id ?\} of the tool's URL must not be /),
        });
      }
      expect(received).toEqual([]);
      respond = json(200, {});
      await call({ url: `${base}/users/v{id}?v={id}` }, { id });
      expect(received[0]?.url).toBe(`/users/v${id}?v=${id}`);
    },
  );

  test("ends at once when its run is stopped, and closes the connection", async () => {
    const stop = new AbortController();
    const reason = new Error("cancelled");
    const closed = new Promise((resolve) => {
      respond = (response) => {
        response.once("close", resolve);
        stop.abort(reason);
      };
    });
    await expect(call({}, {}, { signal: stop.signal })).rejects.toBe(reason);
    await closed;
  });

  // Fails when a call has no time limit, or its error does not name the limit.
  test("that does not respond in time fails with a retryable error that names the limit", async () => {
    const closed = Promise.withResolvers<void>();
    respond = (response) => void response.once("close", () => closed.resolve());
    await expect(call({}, {}, { timeoutMs: 200 })).rejects.toMatchObject({
      name: "RetryableError",
      code: "tool_timeout",
      message: expect.stringMatching(/^127\.0\.0\.1:\d+ did not answer in 0\.2 s$/),
      answered: false,
    });
    await closed.promise;
  });

  test("does not reach this machine unless EGRESS_ALLOW has its address", async () => {
    await expect(call({}, {}, { allow: "" })).rejects.toMatchObject({ code: "egress_blocked" });
    expect(received).toEqual([]);
  });

  // Fails when a call is repeated although the server may have executed it, or given up although the server has not executed it.
  test.each([
    ["a failure of the server", 500, "TerminalError", "outcome_unknown"],
    ["a timeout of its gateway", 504, "TerminalError", "outcome_unknown"],
    ["a timeout of the request", 408, "TerminalError", "outcome_unknown"],
    ["no capacity for now", 503, "RetryableError", "tool_unavailable"],
    ["a rate limit", 429, "RetryableError", "tool_unavailable"],
    ["a refusal", 422, "ToolRejection", "tool_rejected"],
  ])(
    "that is not retry_safe, and gets %s (HTTP %i), fails with %s, code %s",
    async (_, status, name, code) => {
      respond = json(status, {});
      await expect(call({ method: "POST", retry_safe: false })).rejects.toMatchObject({ name, code });
    },
  );

  // Fails when Envoy's 503 for a connection that was lost after the request passes for a server that takes no requests.
  test.each([
    ["upstream connect error or disconnect/reset before headers", "outcome_unknown"],
    [
      "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
      "outcome_unknown",
    ],
    [
      "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure",
      "tool_unavailable",
    ],
    ["upstream connect error or disconnect/reset before headers. reset reason: overflow", "tool_unavailable"],
    ["no healthy upstream", "tool_unavailable"],
  ])("that is not retry_safe, and gets %j with a 503 of a proxy, fails with %s", async (body, code) => {
    respond = (response) => response.writeHead(503).end(body);
    await expect(call({ method: "POST", retry_safe: false })).rejects.toMatchObject({ code });
  });

  test("that is not retry_safe distinguishes a request without a response from one that was never sent", async () => {
    respond = (response) => void response.destroy();
    const unanswered = call({ method: "POST", retry_safe: false });
    await expect(unanswered).rejects.toMatchObject({ name: "TerminalError", code: "outcome_unknown" });
    const unsent = call({ method: "POST", retry_safe: false, url: "http://127.0.0.1:1024/" });
    // Another try must be another call: the key of this one has a beginning without a result.
    await expect(unsent).rejects.toMatchObject({
      name: "RetryableError",
      code: "unreachable",
      answered: true,
    });
    const reconciled = { url: `${base}/x?key={effect_key}`, found: "answer" };
    const reconciledCall = call({ method: "POST", retry_safe: false, reconcile: reconciled });
    await expect(reconciledCall).rejects.toMatchObject({ name: "RetryableError", code: "unreachable" });
  });

  // Fails when a failure after the answer is taken for one before the request: the call would be made twice.
  test("that is not retry_safe is not called again when its file cannot be stored", async () => {
    respond = json(200, {});
    const files: Files = {
      ...refusingFiles,
      write: () => Promise.reject(Object.assign(new Error("no store"), { code: "ECONNREFUSED" })),
    };
    const storing = call({ method: "POST", retry_safe: false, response: "artifact" }, {}, { files });
    await expect(storing).rejects.toMatchObject({ name: "TerminalError", code: "outcome_unknown" });
  });

  test("has its own time limit, in place of the operator's", async () => {
    respond = () => {};
    const startedMs = performance.now();
    await expect(call({ timeout_seconds: 1 }, {}, { timeoutMs: 60_000 })).rejects.toMatchObject({
      code: "tool_timeout",
      message: expect.stringContaining("in 1 s"),
    });
    expect(performance.now() - startedMs).toBeGreaterThan(900);
  });
});

test("the demo search returns the same results for every query, labelled as demo data", async () => {
  const search = await startSearchServer(0);
  const tool = { url: `${search.url}/search` };
  const first = await call(tool, { query: "tea" });
  expect(await call(tool, { query: "tea" })).toEqual(first);
  expect(JSON.stringify(first)).toContain("demo data");
  await expect(call(tool, {})).rejects.toMatchObject({ name: "ToolRejection" });
  await search.stop();
});
