/** How requests are read: equal requests may be spelled differently, and no part of a request is dropped without an error. */
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { MASTER_KEY } from "../test-stores.ts";
import { bodyOf, errorsOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
});
afterAll(() => app.stop());

const post = (body: unknown, headers: Record<string, string> = {}) =>
  app.call("POST", RUN, { body, headers });

// Bruno, Drogon, Rest-assured and others write `%3A`, which Google's APIs answer with 404.
test.each(["runs%3Acancel", "runs%3acancel", "runs:cancel/"])(
  "the path %s is that of runs:cancel",
  async (path) => {
    const answer = await app.call("POST", `/api/v2/orchestrations/${path}`, {
      body: { all: true, dry_run: true },
    });
    expect([answer.status, await bodyOf(answer)]).toEqual([200, expect.objectContaining({ dry_run: true })]);
  },
);

describe("a request with an Idempotency-Key", () => {
  let n = 0;
  const postBoth = async (first: unknown, second: unknown, headers: Record<string, string> = {}) => {
    const key = { "idempotency-key": `same-${(n += 1)}` };
    const [a, b] = [await post(first, { ...key, ...headers }), await post(second, { ...key, ...headers })];
    expect(a.status).toBe(202);
    return [b.status, b.headers.get("idempotent-replayed")];
  };

  test.each([
    [
      "its keys in another order",
      { metadata: { a: 1, b: { c: 1, d: 2 } } },
      { metadata: { b: { d: 2, c: 1 }, a: 1 } },
    ],
    ["a default written out", { message: "x" }, { message: "x", priority: 0, state: {}, metadata: null }],
    ["empty values that ask for nothing", { delay_seconds: 0, attachments: [], singleton_key: "" }, {}],
    [
      "null for an absent field",
      {
        priority: null,
        session_id: null,
        webhook_url: null,
        correlation_id: null,
        run_at: null,
        singleton_policy: null,
      },
      {},
    ],
    [
      "the same time in another zone",
      { run_at: "2026-01-01T12:00:00Z" },
      { run_at: "2026-01-01T14:00:00.000+02:00" },
    ],
    [
      "the message in state too",
      { message: "m" },
      { message: "m", state: { user_input: "m", user_query: "m" } },
    ],
    ["other white space and numbers", '{ "state": {"n": 1.0} }', { state: { n: 1 } }],
  ])("is replayed with %s", async (_what, first, second) => {
    expect(await postBoth(first, second)).toEqual([202, "true"]);
  });

  test("is replayed with an unknown field that is ignored", async () => {
    const lenient = { prefer: "handling=lenient" };
    expect(await postBoth({ message: "x" }, { message: "x", colour: "red" }, lenient)).toEqual([202, "true"]);
  });

  test.each([
    ["message", { message: "a" }, { message: "b" }],
    ["order of an array", { state: { a: [1, 2] } }, { state: { a: [2, 1] } }],
    ["priority", { priority: 1 }, { priority: 2 }],
    ["delay", { delay_seconds: 1 }, { delay_seconds: 2 }],
    ["singleton key", { singleton_key: "a" }, { singleton_key: "b" }],
    ["singleton policy", { singleton_key: "c" }, { singleton_key: "c", singleton_policy: "queue" }],
    ["correlation id", { correlation_id: "a" }, {}],
    [
      "secret",
      { webhook_url: "https://a.b/", webhook_secret: "first secret" },
      { webhook_url: "https://a.b/", webhook_secret: "other secret" },
    ],
  ])("is a conflict with another %s", async (_what, first, second) => {
    expect(await postBoth(first, second)).toEqual([409, null]);
  });
});

// Fails when a request gets 429 although the same request has reserved the last place at another edge and will be committed.
test("a repeated request gets the run of the first request, although that has taken the last place and is not committed yet", async () => {
  await app.call("POST", "/scale/tenants", { body: { tenant_id: "full", max_queued_runs: 1 } });
  const body = { tenant_id: "full" };
  const key = { "idempotency-key": "same" };
  const { run_id } = await bodyOf(await post(body, key));
  const { sql } = app.stores;
  // Until now the other edge has not committed: its key cannot be seen.
  await sql`update idempotency_keys set key = 'hidden' where tenant_id = 'full'`;
  // The first pause of the edge, 100 ms, lasts until the key can be seen.
  const pause = Promise.withResolvers<() => void>();
  const { setTimeout: real } = globalThis;
  vi.stubGlobal("setTimeout", (act: () => void, ms: number) =>
    ms === 100 ? pause.resolve(act) : real(act, ms),
  );
  const repeated = post(body, key);
  const endPause = await pause.promise;
  vi.unstubAllGlobals();
  await sql`update idempotency_keys set key = 'same' where tenant_id = 'full'`;
  endPause();
  const answer = await repeated;
  expect([answer.status, answer.headers.get("idempotent-replayed")]).toEqual([202, "true"]);
  expect((await bodyOf(answer)).run_id).toBe(run_id);
  expect((await post(body, { "idempotency-key": "other" })).status).toBe(429);
});

describe("an integer beyond 2^53", () => {
  const LONG = "9007199254740993";

  // Fails when a client with ids of 64 bits gets a 422, or when their digits change.
  test("in the state and the metadata of a run keeps its digits, as a text of them", async () => {
    const sent = `{"state":{"order":{"ids":[${LONG},7]}},"metadata":{"a":-12345678901234567890}}`;
    const run = String((await bodyOf(await post(sent))).run_id);
    const [row] = await app.stores.sql`select input::jsonb->'state' as state from runs where run_id = ${run}`;
    expect(row?.["state"]).toEqual({ order: { ids: [LONG, 7] } });
    const status = await bodyOf(await app.call("GET", runPath(run, "status")));
    expect(status.metadata).toEqual({ a: "-12345678901234567890" });
    const found = await app.call("GET", "/api/v2/orchestrations/runs?metadata.a=-12345678901234567890");
    expect((await bodyOf(found)).data).toMatchObject([{ run_id: run }]);
  });

  test("keeps its digits in each item of a batch, in schedules, in triggers and in the metadata of a chat", async () => {
    const batch = await app.call("POST", "/api/v2/orchestrations/orch_smoke/runs:batch", {
      body: `{"items":[{"state":{"n":${LONG}}},{"priority":${LONG}}]}`,
    });
    expect(await bodyOf(batch)).toMatchObject({
      errors: [{ path: "items[1].priority", message: expect.stringContaining("beyond 2^53") }],
    });
    const good = await app.call("POST", "/api/v2/orchestrations/orch_smoke/runs:batch", {
      body: `{"items":[{"state":{"n":${LONG}}}]}`,
    });
    expect(await bodyOf(good)).toMatchObject({ items: [{ status: "queued" }] });
    const fields = `"orchestration_id":"orch_smoke","state":{"n":${LONG}},"metadata":{"m":${LONG}}`;
    for (const [method, path, body] of [
      ["PUT", "/api/v2/schedules/long", `{"cron":"0 0 1 1 *",${fields}}`],
      ["POST", "/api/v2/triggers", `{${fields}}`],
    ] as const) {
      expect(await bodyOf(await app.call(method, path, { body }))).toMatchObject({
        state: { n: LONG },
        metadata: { m: LONG },
      });
    }
    await app.call("PUT", "/api/v2/agents/plain", { body: { name: "Plain", model: "demo/echo" } });
    const turn = await app.call("POST", "/api/v2/chat", {
      body: `{"message":"hi","agent":"plain","metadata":{"m":${LONG}}}`,
    });
    const status = await app.call("GET", runPath(String((await bodyOf(turn)).turn_id), "status"));
    expect((await bodyOf(status)).metadata).toEqual({ m: LONG });
  });

  test("is accepted inside of a person's answer", async () => {
    const resume = runPath(await startRun(app), "resume");
    const answer = await app.call("POST", resume, { body: `{"response":{"n":${LONG}}}` });
    expect(await bodyOf(answer)).toMatchObject({ code: "not_waiting" });
  });

  test.each([
    ["POST", RUN, `{"priority":${LONG}}`, "priority"],
    ["POST", RUN, `{"message":${LONG}}`, "message"],
    ["POST", RUN, `{"state":${LONG}}`, "state"],
    ["POST", RUN, `{"attachments":[{"upload_id":${LONG}}]}`, "attachments[0].upload_id"],
    [
      "POST",
      "/api/v2/orchestrations/runs/run_000000000000_1780499750067/resume",
      `{"response":${LONG}}`,
      "response",
    ],
    [
      "PUT",
      "/api/v2/orchestrations/o",
      `{"state_schema":{"n":{"default":${LONG}}}}`,
      "state_schema.n.default",
    ],
    ["PUT", "/api/v2/tools/t", `{"parameters":{"maximum":${LONG}}}`, "parameters.maximum"],
    [
      "POST",
      "/scale/sync",
      `{"tools":[{"id":"t","parameters":{"maximum":${LONG}}}]}`,
      "tools[0].parameters.maximum",
    ],
  ])("that has a meaning here is a 422 that names it: %s %s %s", async (method, path, body, field) => {
    const answer = await app.call(method, path, { body });
    expect(answer.status).toBe(422);
    expect(await errorsOf(answer)).toMatchObject([
      { path: field, message: expect.stringContaining("beyond 2^53") },
    ]);
  });

  test("leaves exact integers, decimals and text alone", async () => {
    const body = '{"metadata":{"a":9007199254740991,"b":0.1234567890123456789,"c":"9007199254740993"}}';
    const { run_id } = await bodyOf(await post(body));
    const status = await bodyOf(await app.call("GET", runPath(String(run_id), "status")));
    expect(status.metadata).toEqual({ a: 9007199254740991, b: 0.12345678901234568, c: "9007199254740993" });
  });
});

// Fails when a repetition starts a second run because the key has the name that another API gives it.
test.each([RUN, "/api/v2/orchestrations/orch_smoke/runs:batch", "/api/v2/chat"])(
  "an Idempotency-Key under another name is a 422 that names both: %s",
  async (path) => {
    for (const name of ["X-Idempotency-Key", "Idempotence-Key"]) {
      const answer = await app.call("POST", path, { body: {}, headers: { [name.toLowerCase()]: "k" } });
      expect([answer.status, await errorsOf(answer)]).toEqual([
        422,
        [{ path: name, message: "is not read: send it as Idempotency-Key" }],
      ]);
    }
  },
);

describe("an unknown field", () => {
  test.each([
    ["tenant", { tenant: "acme" }, "did you mean tenant_id?"],
    ["sessionId", { sessionId: "s" }, "did you mean session_id?"],
    ["colour", { colour: "red" }, "the fields are message, "],
  ])("of a run is a 422 that names it and the nearest: %s", async (path, body, hint) => {
    const answer = await post(body);
    expect(answer.status).toBe(422);
    expect(await errorsOf(answer)).toMatchObject([{ path, message: expect.stringContaining(hint) }]);
  });

  test.each([
    ["POST", "/api/v2/orchestrations/runs:cancel", { tenant: "acme", all: true }],
    ["POST", "/api/v2/orchestrations/runs:retry", { orchestration: "x", all: true }],
    ["POST", "/scale/dlq/retry", { tenant: "acme", all: true }],
    ["POST", "/scale/tenants", { tenant_id: "acme", max_concurrent: 1 }],
    ["POST", runPath("run_000000000000_1780499750067", "resume"), { response: "x", question: "q" }],
    ["POST", runPath("run_000000000000_1780499750067", "retry"), { from_step: "x" }],
  ])("of %s %s is a 422", async (method, path, body) => {
    expect((await app.call(method, path, { body })).status).toBe(422);
  });

  test("is ignored under `Prefer: handling=lenient`, with `Preference-Applied` in the answer", async () => {
    const answer = await post(
      { message: "hi", colour: "red" },
      { prefer: "respond-async, handling=lenient" },
    );
    expect([answer.status, answer.headers.get("preference-applied")]).toEqual([202, "handling=lenient"]);
    const plain = await post({ message: "hi" }, { prefer: "handling=lenient" });
    expect([plain.status, plain.headers.get("preference-applied")]).toEqual([202, null]);
    expect((await post({ colour: "red" }, { prefer: "handling=strict" })).status).toBe(422);
  });
});

describe("a request for all runs", () => {
  test.each(["runs:cancel", "runs:retry"])("%s needs a filter, or all: true", async (action) => {
    const path = `/api/v2/orchestrations/${action}`;
    for (const key of [app.platformKey, await app.stores.key("acme")]) {
      const answer = await app.call("POST", path, { key, body: {} });
      expect([answer.status, await errorsOf(answer)]).toMatchObject([422, [{ path: "all" }]]);
      expect((await app.call("POST", path, { key, body: { all: true, dry_run: true } })).status).toBe(200);
      expect(
        (await app.call("POST", path, { key, body: { since: "2026-01-01T00:00:00Z", dry_run: true } }))
          .status,
      ).toBe(200);
    }
  });
});

describe("the data of the operator and of other tenants", () => {
  test("in the list of workers, a tenant's key gets neither hosts nor loads", async () => {
    await app.stores.sql`
      insert into workers (incarnation, worker_id, hostname, address, status, lanes, slots, active, loop_lag_ms, beat_at)
      values ('w-1#0a1b2c3d', 'w-1', 'host-7', 'http://host-7:9000', 'online', '{default}', 10, 3, 1, now())`;
    const read = async (key: string) =>
      z.array(z.looseObject({})).parse(await (await app.call("GET", "/api/v2/workers", { key })).json());
    expect(await read(app.platformKey)).toMatchObject([{ hostname: "host-7", active_jobs: 3, max_jobs: 10 }]);
    const text = JSON.stringify(await read(await app.stores.key("acme")));
    expect(text).toContain('"worker_id":"w-1"');
    expect(text).not.toContain("host-7");
    expect(await read(await app.stores.key("acme"))).toMatchObject([
      { hostname: null, address: null, active_jobs: null, max_jobs: null, loop_lag_ms: null },
    ]);
  });

  test("in the counts of the queue, a tenant's key gets its own tenant alone", async () => {
    await startRun(app, { body: { tenant_id: "counted-other" } });
    await app.settled();
    const key = await app.stores.key("counted");
    expect(await bodyOf(await app.call("GET", "/api/v2/queue/stats", { key }))).toMatchObject({
      queued: 0,
      active: 0,
    });
  });
});

describe("the body of a request", () => {
  // Fails when a check or the validation parses the text again: a body of 1 MiB then costs milliseconds more each time.
  test.each([
    ["POST", RUN, { message: "once" }, 202],
    ["POST", "/api/v2/orchestrations/runs:cancel", { tenant_id: "acme", dry_run: true }, 200],
    ["POST", "/scale/tenants", { tenant_id: "parsed-once" }, 201],
    ["PUT", "/api/v2/agents/agent_once", { name: "Once" }, 200],
  ])("is parsed once: %s %s", async (method, path, body, status) => {
    const text = `${JSON.stringify(body)}  `;
    const parse = vi.spyOn(JSON, "parse");
    try {
      expect((await app.call(method, path, { body: text })).status).toBe(status);
      expect(parse.mock.calls.filter(([parsed]) => parsed === text)).toHaveLength(1);
    } finally {
      parse.mockRestore();
    }
  });
});

test("a path that does not exist is a 404 that names the reference, also with no key", async () => {
  for (const path of ["/", "/api/v2/doc", "/api/v3/chat"]) {
    const answer = await app.call("GET", path, { key: "" });
    expect([answer.status, (await bodyOf(answer)).detail]).toEqual([
      404,
      "There is no such path: see /docs.",
    ]);
  }
});
