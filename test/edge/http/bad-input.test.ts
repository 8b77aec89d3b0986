import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bodyOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

/** Sends a request and returns its problem response. */
async function problem(method: string, path: string, options: Parameters<TestApp["call"]>[2] = {}) {
  const answer = await app.call(method, path, options);
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
  const body = await bodyOf(answer);
  expect(body).toMatchObject({
    status: answer.status,
    detail: expect.any(String),
    request_id: expect.any(String),
  });
  expect(answer.headers.get("x-request-id")).toBe(body.request_id);
  return body;
}

describe("a malformed request", () => {
  test.each([
    ["malformed JSON", "{", 400, "malformed_json"],
    ["an empty body", "", 400, "malformed_json"],
    ["a value that JSON does not know", '{"message":NaN}', 400, "malformed_json"],
    ["a body that is no object", "[]", 422, "invalid"],
    ["a number for the message", { message: 7 }, 422, "invalid"],
    ["a priority above 10", { priority: 11 }, 422, "invalid"],
    ["a priority that is no integer", { priority: 1.5 }, 422, "invalid"],
    ["a tenant with a space", { tenant_id: "a b" }, 422, "invalid"],
    ["a session with a control character", { session_id: "a\u0000b" }, 422, "invalid"],
    ["a webhook that is no URL", { webhook_url: "example.com/hook" }, 422, "invalid"],
    ["a webhook by another protocol", { webhook_url: "ftp://example.com" }, 422, "invalid"],
    ["a webhook with a password in it", { webhook_url: "https://a:b@example.com" }, 422, "invalid"],
    ["a webhook of 2,049 characters", { webhook_url: `https://a.b/${"x".repeat(2_037)}` }, 422, "invalid"],
    ["a webhook's secret without a webhook", { webhook_secret: "long enough" }, 422, "invalid"],
    [
      "a webhook's secret of 7 characters",
      { webhook_url: "https://a.b", webhook_secret: "1234567" },
      422,
      "invalid",
    ],
    ["attachments that are no uploads", { attachments: ["a"] }, 422, "invalid"],
  ])("with %s gets the problem %4$s", async (_what, body, status, code) => {
    expect(await problem("POST", RUN, { body })).toMatchObject({ status, code });
  });

  // Fails when a stored text has other characters than were sent.
  test("with bytes that are no UTF-8, or with another charset, is refused", async () => {
    const latin1 = Uint8Array.from(Buffer.from('{"message":"caf\u00e9"}', "latin1"));
    expect(await problem("POST", RUN, { body: latin1 })).toMatchObject({
      status: 400,
      code: "malformed_json",
      detail: "The body has bytes that are no UTF-8.",
    });
    const sent = (headers: Record<string, string>) => problem("POST", RUN, { body: {}, headers });
    expect(await sent({ "content-type": "application/json; charset=ISO-8859-1" })).toMatchObject({
      status: 415,
      detail: "Send the body in UTF-8: JSON has no other charset, and this one is ISO-8859-1.",
    });
    expect(await sent({ "content-encoding": "gzip" })).toMatchObject({ status: 415 });
    const quoted = { "content-type": 'Application/JSON; Charset="UTF-8"', "content-encoding": "identity" };
    expect((await app.call("POST", RUN, { body: { message: "caf\u00e9" }, headers: quoted })).status).toBe(
      202,
    );
  });

  // Fails when a client has to search a body of a thousand lines for its comma.
  test("with JSON that ends or breaks is answered with the place", async () => {
    const detail = async (body: string) => (await problem("POST", RUN, { body })).detail;
    expect(await detail('{\n  "message": "hi",\n}')).toBe(
      "The body could not be read as JSON: see line 3, column 1.",
    );
    expect(await detail("  ")).toBe("The body is empty: send a JSON object.");
  });

  // Fails when the run of one tenant starts as that of another, or when a part of a definition is lost.
  test("with a key that an object has twice is refused by its path", async () => {
    const body = '{"message":"a","state":{"list":[{"k":1,"k":2}]},"tenant_id":"acme","tenant_id":"globex"}';
    expect(await problem("POST", RUN, { body })).toMatchObject({
      status: 422,
      errors: [{ path: "state.list[0].k" }, { path: "tenant_id" }],
    });
  });

  // Fails when the run's message is the text in state, or when one of the two texts is dropped without an error.
  test("with a second, different message in its state is refused", async () => {
    const state = { user_input: "other" };
    expect(await problem("POST", RUN, { body: { message: "hi", state } })).toMatchObject({
      status: 422,
      errors: [{ path: "state.user_input", message: "is the run's message: send it as message" }],
    });
    expect((await app.call("POST", RUN, { body: { message: "other", state } })).status).toBe(202);
  });

  // Fails when an error names types of the schema library instead of what would be right.
  test("gets sentences that say what would be right", async () => {
    const expectSentences = async (path: string, body: unknown, sentences: string[]) =>
      expect((await problem("POST", path, { body })).errors).toMatchObject(
        sentences.map((message) => ({ message })),
      );
    await expectSentences("/scale/tenants", {}, ["is required"]);
    const tenant = { tenant_id: "t", max_concurrent_runs: 1.5 };
    await expectSentences("/scale/tenants", tenant, ["must be a whole number"]);
    const wrong = { message: null, session_id: "", state: [] };
    await expectSentences(RUN, wrong, ["must be text", "must not be empty", "must be an object"]);
    const since = "must be a time such as 2026-06-04T09:15:30Z";
    await expectSentences("/api/v2/orchestrations/runs:cancel", { since: "yesterday" }, [since]);
  });

  test("for a version that no definition can have gets the field", async () => {
    const path = "/api/v2/orchestrations/orch_smoke?version=2147483648";
    expect((await problem("GET", path)).errors).toEqual([
      { path: "version", message: "must be at most 2147483647" },
    ]);
  });

  test("gets the path of each invalid field", async () => {
    const body = { message: 7, priority: 99 };
    expect((await problem("POST", RUN, { body })).errors).toMatchObject([
      { path: "message" },
      { path: "priority" },
    ]);
  });

  // Fails when a missing field or a too large number is reported as too deep, or is reported twice.
  test("gets the reason why a value is invalid", async () => {
    const resume = runPath(await startRun(app), "resume");
    expect(await problem("POST", resume, { body: {} })).toMatchObject({
      status: 422,
      detail: "Not valid: response.",
      errors: [{ path: "response", message: "is required" }],
    });
    expect((await problem("POST", resume, { body: { response: 5 } })).errors).toEqual([
      { path: "response", message: "must be an object or text" },
    ]);
    const large = '{"metadata":{"a":{"b":[1e999]}},"state":{"n":-1e999}}';
    expect((await problem("POST", RUN, { body: large })).errors).toEqual([
      { path: "metadata.a", message: "must not contain a number beyond 1.8e308" },
      { path: "state.n", message: "must not contain a number beyond 1.8e308" },
    ]);
    const deep = `{"metadata":{"a":${"[".repeat(70)}${"]".repeat(70)}}}`;
    expect((await problem("POST", RUN, { body: deep })).errors).toEqual([
      { path: "metadata.a", message: "must be at most 64 levels deep" },
    ]);
  });

  // Fails when the empty name after a comma is looked up as a run.
  test.each(["", "run_000000000000_1780499750067,", ",", "run_000000000000_1780499750067,,x"])(
    "with an empty name in its list of runs (%s) is 422",
    async (runs) => {
      expect(await problem("GET", `/api/v2/events/stream?runs=${runs}`)).toMatchObject({
        status: 422,
        errors: [{ path: "runs", message: "must be run ids separated by commas, without an empty one" }],
      });
    },
  );

  test("with another content type than JSON is 415", async () => {
    const headers = { "content-type": "text/plain" };
    expect(await problem("POST", RUN, { body: "{}", headers })).toMatchObject({ status: 415 });
  });

  test("of 2 MiB is 413, with and without a Content-Length", async () => {
    const body = { message: "x".repeat(2 * 1024 * 1024) };
    expect(await problem("POST", RUN, { body })).toMatchObject({ status: 413, code: "too_large" });
    const chunked = { "transfer-encoding": "chunked" };
    expect(await problem("POST", RUN, { body, headers: chunked })).toMatchObject({ status: 413 });
  });

  test("for a run or a path that does not exist is 404", async () => {
    expect(await problem("POST", "/api/v2/orchestrations/nope/run", { body: {} })).toMatchObject({
      status: 404,
    });
    expect(await problem("GET", "/api/v2/orchestrations/nope")).toMatchObject({ status: 404 });
    expect(await problem("GET", runPath("run_000000000000_1780499750067", "status"))).toMatchObject({
      status: 404,
    });
    expect(await problem("GET", runPath("x';drop table runs", "status"))).toMatchObject({ status: 404 });
    expect(await problem("GET", "/nowhere")).toMatchObject({ status: 404, code: "not_found" });
  });

  // Fails when the methods of the path are only in the sentence, which no client parses (RFC 9110, 15.5.6).
  test("with another method is 405, and `Allow` has the methods of the path", async () => {
    expect(await problem("DELETE", RUN)).toMatchObject({ status: 405, detail: "This path takes POST." });
    const allowed = async (method: string, path: string) =>
      (await app.call(method, path)).headers.get("allow");
    expect(await allowed("DELETE", RUN)).toBe("POST");
    expect(await allowed("POST", "/api/v2/orchestrations/orch_smoke")).toBe("GET, HEAD, PUT, DELETE");
    expect(await allowed("GET", "/nowhere")).toBeNull();
    // The path of an orchestration matches this one too, but no orchestration may have that id.
    expect(await allowed("POST", "/api/v2/orchestrations/runs")).toBe("GET, HEAD");
  });

  test("with a malformed Last-Event-ID is 400", async () => {
    const run = await startRun(app);
    for (const id of ["x", "-1", "1780499750067", `${run.slice(-13)}-x`, "1780499750067-1"]) {
      const headers = { "last-event-id": id };
      expect(await problem("GET", runPath(run, "stream"), { headers })).toMatchObject({
        status: 400,
        code: "bad_event_id",
      });
    }
    expect(await problem("GET", runPath(run, "events?start=x"))).toMatchObject({ status: 400 });
    expect(await problem("GET", runPath(run, "events?limit=0"))).toMatchObject({ status: 422 });
  });

  test("for the result of a run that has not ended is 409", async () => {
    const run = await startRun(app);
    expect(await problem("GET", runPath(run, "result"))).toMatchObject({
      status: 409,
      code: "run_not_finished",
    });
  });

  test.each([
    [
      "a cycle without a bound",
      [{ id: "a", name: "A", type: "print", print_content: "x", next_step_id: "a", max_iterations: 0 }],
    ],
    [
      "a target that does not exist",
      [{ id: "a", name: "A", type: "print", print_content: "x", next_step_id: "z" }],
    ],
    ["no steps", []],
  ])("a definition with %s is 422 with the field", async (_what, steps) => {
    const body = { name: "Bad", entry_step_id: "a", steps };
    const answer = await problem("PUT", "/api/v2/orchestrations/orch_bad", { body });
    expect(answer).toMatchObject({
      status: 422,
      errors: [{ path: expect.any(String), message: expect.any(String) }],
    });
  });

  test.each([
    ["/api/v2/agents/agent_typo", { name: "A", max_turnz: 3 }, "max_turnz", "max_turns"],
    [
      "/api/v2/tools/typo",
      { tool_type: "http", url: "https://example.com/", methode: "GET" },
      "methode",
      "method",
    ],
    [
      "/api/v2/orchestrations/orch_typo",
      { name: "T", entry_step_id: "a", steps: [{ id: "a", type: "end", retires: { attempts: 1 } }] },
      "steps[0].retires",
      "retry",
    ],
  ])(
    "a definition with a misspelt field is 422 and names the right one; lenient handling ignores it: %s",
    async (path, body, field, right) => {
      expect(await problem("PUT", path, { body })).toMatchObject({
        status: 422,
        code: "invalid",
        errors: [{ path: field, message: expect.stringContaining(`"${right}"`) }],
      });
      const headers = { prefer: 'respond-async, Handling="lenient"; x=1' };
      const lenient = await app.call("PUT", path, { body, headers });
      expect(lenient.status).toBe(200);
      expect(lenient.headers.get("preference-applied")).toBe("handling=lenient");
      const read: unknown = await (await app.call("GET", path)).json();
      expect(JSON.stringify(read)).not.toContain(field.split(".").at(-1));
      const savedAsRead = await app.call("PUT", path, { body: read });
      expect(savedAsRead.status).toBe(200);
      expect(savedAsRead.headers.get("preference-applied")).toBeNull();
    },
  );

  test("a definition under a reserved id or with another id in its body is 422", async () => {
    const body = { name: "Bad", entry_step_id: "a", steps: [{ id: "a", name: "A", type: "end" }] };
    expect(await problem("PUT", "/api/v2/orchestrations/runs", { body })).toMatchObject({ status: 422 });
    const other = { ...body, id: "orch_other" };
    expect(await problem("PUT", "/api/v2/orchestrations/orch_one", { body: other })).toMatchObject({
      status: 422,
    });
  });
});

test("an error never repeats a secret of the request, such as an invalid token", async () => {
  const run = await startRun(app, {});
  const token = `syn-st.${run}.1780499750.${"a".repeat(64)}`;
  const answer = await app.call("GET", runPath(run, `stream?token=${token}`), { key: null });
  expect(answer.status).toBe(401);
  expect(await answer.text()).not.toContain("a".repeat(64));
});
