/** Headers that ask for something: each is honoured or refused, and none is ignored in silence. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bodyOf, errorsOf, RUN, startApp, type TestApp } from "../app.ts";

const AGENT = "/api/v2/agents/agent_headers";
const CANCEL = "/api/v2/orchestrations/runs/run_000000000000_1780499750067/cancel";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const sha256 = (text: string) => `sha-256=:${createHash("sha256").update(text).digest("base64")}:`;

describe("a header that no route reads", () => {
  // Fails when the run belongs to another tenant than its sender means.
  test.each([
    ["X-Tenant-Id", "acme", "tenant_id"],
    ["X-HTTP-Method-Override", "DELETE", "method"],
    ["X-Idempotency-Key", "k", "Idempotency-Key"],
    ["Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==", "Content-Digest"],
    ["Digest", "SHA-256=AAAA", "Content-Digest"],
    ["X-Amz-Checksum-Sha256", "AAAA", "Content-Digest"],
    ["If-Match", '"5"', "version"],
    ["If-None-Match", "*", "version"],
    ["If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT", "version"],
    ["Content-Range", "bytes 0-5/100", "whole"],
    ["Expect", "200-ok", "100-continue"],
  ])("is a 422 that names it: %s", async (path, value, hint) => {
    const headers = { [path.toLowerCase()]: value };
    const saved = await app.call("PUT", AGENT, { body: { name: "A", model: "demo/echo" }, headers });
    expect([saved.status, await errorsOf(saved)]).toEqual([
      422,
      [{ path, message: expect.stringContaining(hint) }],
    ]);
    expect((await app.call("GET", AGENT)).status).toBe(404);
    expect((await app.call("POST", RUN, { body: {}, headers })).status).toBe(422);
    expect((await app.call("POST", RUN, { body: {}, headers, key: null })).status).toBe(401);
    const lenient = { ...headers, prefer: "handling=lenient" };
    const answer = await app.call("POST", RUN, { body: {}, headers: lenient });
    expect([answer.status, answer.headers.get("preference-applied")]).toEqual([202, "handling=lenient"]);
  });

  // Fails when a repetition makes a second trigger, key or upload, although its sender has named it by a key.
  test.each([
    ["POST", "/api/v2/triggers", { orchestration_id: "orch_smoke" }],
    ["POST", "/scale/api-keys", { tenant_id: "acme", name: "k", scopes: ["runs:read"] }],
    ["POST", "/api/v2/uploads?name=a", "bytes"],
    ["POST", CANCEL, undefined],
  ])("is a 422 when it is an Idempotency-Key: %s %s", async (method, path, body) => {
    const answer = await app.call(method, path, { body, headers: { "idempotency-key": "k" } });
    expect([answer.status, await errorsOf(answer)]).toEqual([
      422,
      [{ path: "Idempotency-Key", message: expect.stringContaining("executed each time") }],
    ]);
  });

  test("is ignored where it changes nothing", async () => {
    const save = { body: { name: "A", model: "demo/echo" }, headers: { "idempotency-key": "k" } };
    expect((await app.call("PUT", AGENT, save)).status).toBe(200);
    expect((await app.call("GET", AGENT, { headers: { "if-none-match": '"5"' } })).status).toBe(200);
    const expecting = { body: {}, headers: { expect: "100-Continue" } };
    expect((await app.call("POST", RUN, expecting)).status).toBe(202);
  });
});

// Fails when a client that sends a filter in a body gets all rows.
test("a body of a GET is a 422", async () => {
  const headers = { "content-length": "19" };
  const answer = await app.call("GET", "/api/v2/orchestrations/runs", { headers });
  expect([answer.status, await errorsOf(answer)]).toEqual([
    422,
    [{ path: "", message: expect.stringContaining("GET") }],
  ]);
  const withoutKey = await app.call("GET", "/api/v2/orchestrations/runs", { headers, key: null });
  expect(withoutKey.status).toBe(401);
  // Some clients send {} or null with every request, and none of them means a filter.
  for (const length of ["0", "2", "4"]) {
    const none = { headers: { "content-length": length } };
    expect((await app.call("GET", "/api/v2/orchestrations/runs", none)).status).toBe(200);
  }
});

describe.each(["Content-Digest", "Repr-Digest"])("a %s", (name) => {
  const body = JSON.stringify({ message: "digest" });
  const send = (value: string) => app.call("POST", RUN, { body, headers: { [name.toLowerCase()]: value } });

  // Fails when a body that was changed on its way is accepted.
  test("that names another body is a 400", async () => {
    const answer = await send(sha256("another"));
    expect([answer.status, await bodyOf(answer)]).toMatchObject([
      400,
      { code: "bad_request", detail: expect.stringContaining(name) },
    ]);
  });

  test("that names the body is accepted, beside other algorithms too", async () => {
    expect((await send(sha256(body))).status).toBe(202);
    expect((await send(`unixsum=:AAAA:, ${sha256(body)}`)).status).toBe(202);
  });

  test.each(["md5=:AAAAAAAAAAAAAAAAAAAAAA==:", "sha-256=AAAA", "sha-256=:!:", "sha-256", ""])(
    "without a SHA-256 is a 422: %s",
    async (value) => {
      const answer = await send(value);
      expect([answer.status, await errorsOf(answer)]).toMatchObject([422, [{ path: name }]]);
    },
  );
});

test.each([
  "application/json; charset=utf-8; charset=latin1",
  "application/json, text/plain",
  "application/json-seq",
  "application/jsonl",
])("a body of the type %s is a 415", async (type) => {
  const answer = await app.call("POST", RUN, { body: {}, headers: { "content-type": type } });
  expect(answer.status).toBe(415);
});

test("the first of two values of a preference takes effect (RFC 7240, 2)", async () => {
  const send = (prefer: string) => app.call("POST", RUN, { body: { colour: "red" }, headers: { prefer } });
  expect((await send("handling=strict, handling=lenient")).status).toBe(422);
  expect((await send("handling=lenient, handling=strict")).status).toBe(202);
});
