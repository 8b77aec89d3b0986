import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { bodyOf, RUN, runPath, startApp, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const problem = async (
  method: string,
  path: string,
  body?: object | string,
): Promise<Record<string, unknown>> => {
  const answer = await app.call(method, path, body === undefined ? {} : { body });
  return { answered: answer.status, ...(await bodyOf(answer)) };
};

test.each([
  ["GET", "/api/v2/orchestrations/runs?since=0000-01-01T00:00:00Z", "since"],
  ["GET", "/scale/tenants/acme/usage?from=0000-01-01", "from"],
  ["POST", RUN, "run_at", { run_at: "0000-01-01T00:00:00Z" }],
  ["POST", "/api/v2/orchestrations/runs:cancel", "since", { since: "0000-01-01T00:00:00Z" }],
])(
  "%s %s with a time in the year 0 is refused with its field: %s",
  async (method, path, field, body?: object) => {
    expect(await problem(method, path, body)).toMatchObject({
      answered: 422,
      errors: [{ path: field, message: "must be in the year 0001 or later" }],
    });
  },
);

test("a limit of 1e18 is one error, with the limit's own bound", async () => {
  const saved = await problem("POST", "/scale/tenants", { tenant_id: "acme", max_queued_runs: 1e18 });
  expect(saved).toMatchObject({
    answered: 422,
    errors: [{ path: "max_queued_runs", message: "must be at most 1000000000" }],
  });
});

test.each([
  ["GET", runPath("run_1", "status"), /There is no such run: a run id must look like run_/],
  ["POST", RUN.replace("orch_smoke", "a%20b"), /id must be 1 to 255 letters/],
  ["GET", "/api/v2/chat/nothing/status", /session.*must look like sess_/],
  ["GET", "/scale/tenants/-", /id must be 1 to 64 letters/],
])("%s %s with an invalid id is a 404 with the form of an id", async (method, path, detail) => {
  const body = method === "POST" ? { message: "hi" } : undefined;
  expect(await problem(method, path, body)).toMatchObject({
    answered: 404,
    code: "not_found",
    detail: expect.stringMatching(detail),
  });
});

test.each([
  [
    "POST",
    "/scale/dlq/retry",
    '{"all":true,"cursor":"x"}',
    { path: "cursor", message: "must look like run_2483e1773407_1780499750067.29" },
  ],
  [
    "POST",
    "/api/v2/orchestrations/runs:cancel",
    '{"all":true,"cursor":"x"}',
    { path: "cursor", message: "must look like run_2483e1773407_1780499750067" },
  ],
  [
    "POST",
    RUN,
    '{"attachments":[{"uploadid":"a"}]}',
    {
      path: "attachments[0].uploadid",
      message: "is no field of this request: did you mean upload_id?",
    },
  ],
  [
    "POST",
    "/scale/tenants",
    '{"tenant_id":"acme","retention":{"runs_day":1,"colour":2}}',
    {
      path: "retention.colour",
      message: expect.stringMatching(/^is no field of this request: the fields are runs_days, /),
    },
  ],
  [
    "PUT",
    "/api/v2/orchestrations/o",
    '{"name":"\\u0000","entry_step_id":"a","steps":[{"id":"a","type":"end"}]}',
    { path: "name", message: "must not contain U+0000 or half of a surrogate pair" },
  ],
  [
    "PUT",
    "/api/v2/orchestrations/o",
    '{"name":"o","description":"\\ud800","entry_step_id":"a","steps":[{"id":"a","type":"end"}]}',
    { path: "description", message: "must not contain U+0000 or half of a surrogate pair" },
  ],
  [
    "PUT",
    "/api/v2/mcp-servers/m",
    '{"label":"\\u0000","url":"https://example.com/mcp"}',
    { path: "label", message: "must not contain U+0000 or half of a surrogate pair" },
  ],
  [
    "PUT",
    "/api/v2/orchestrations/o",
    '{"name":"o","entry_step_id":"a","state_schema":{"a b":{"type":"string"}},"steps":[{"id":"a","type":"end"}]}',
    {
      path: "state_schema.a b",
      message:
        "is no name for a key: it must be 1 to 100 letters, digits, _ or - and begin with a letter or _",
    },
  ],
  [
    "POST",
    RUN,
    '{"webhook_url":"https://example.com/","webhook_secret":"long enough \\ud800"}',
    { path: "webhook_secret", message: "must not contain half of a surrogate pair" },
  ],
  [
    "POST",
    RUN,
    '{"webhook_url":"https://example.com/\\ud800"}',
    { path: "webhook_url", message: "must not contain half of a surrogate pair" },
  ],
  ...["a..b", ".a", "a.", "items[0].text", "$.a"].map((message_path): [string, string, string, object] => [
    "POST",
    "/api/v2/triggers",
    JSON.stringify({ orchestration_id: "orch_smoke", message_path }),
    {
      path: "message_path",
      message: "must be names with dots between them, such as head_commit.message or items.0.text",
    },
  ]),
  [
    "POST",
    "/api/v2/triggers",
    '{"orchestration_id":"orch_smoke","state":{"trigger":1}}',
    {
      path: "state.trigger",
      message: "is where each run has the body of its request: use another key",
    },
  ],
  [
    "PUT",
    "/api/v2/tools/t",
    '{"description":"d","tool_type":"http","method":"GET","url":"https://example.com/\\ud800"}',
    { path: "url", message: "must not contain half of a surrogate pair" },
  ],
  [
    "PUT",
    "/api/v2/tools/t",
    '{"description":"d","tool_type":"http","method":"GET","url":"https://example.com/","headers":{"Accept":"a","accept":"b"}}',
    {
      path: "headers.accept",
      message: "is the same header as Accept: letter case does not matter in HTTP",
    },
  ],
  [
    "PUT",
    "/api/v2/mcp-servers/m",
    '{"url":"https://example.com/\\ud800"}',
    { path: "url", message: "must have no placeholder, no # and no half of a surrogate pair" },
  ],
  [
    "PUT",
    "/api/v2/orchestrations/o",
    JSON.stringify({ name: "x".repeat(501), entry_step_id: "a", steps: [{ id: "a", type: "end" }] }),
    { path: "name", message: "must have at most 500 characters" },
  ],
  [
    "POST",
    "/scale/api-keys",
    '{"name":"k","tenant_id":"acme","scopes":["admin","admin"]}',
    { path: "scopes", message: "must name each scope once" },
  ],
])("%s %s with %s names the field and what its value must be", async (method, path, body, error) => {
  const refused = await problem(method, path, body);
  expect([refused["answered"], refused["errors"]]).toEqual([422, expect.arrayContaining([error])]);
});

// Fails when a second error is about a type that the value does not have.
test.each([
  ["POST", "/scale/api-keys", { name: "k", tenant_id: "acme", scopes: "admin" }, "scopes", "must be a list"],
  ["POST", RUN, { run_at: "0000-01-01" }, "run_at", "must be a time such as 2026-06-04T09:15:30Z"],
  ["POST", RUN, { run_at: 1_796_148_081 }, "run_at", "must be a time such as 2026-06-04T09:15:30Z"],
])("%s %s with %j gets one sentence for its field", async (method, path, body, field, message) => {
  expect((await problem(method, path, body))["errors"]).toEqual([{ path: field, message }]);
});

// Fails when a client cannot see that its URL has lost a character.
test("a time whose + is not encoded in the URL gets the reason", async () => {
  const list = "/api/v2/orchestrations/runs?since=2026-01-01T00:00:00";
  expect((await problem("GET", `${list}+00:00`))["errors"]).toEqual([
    { path: "since", message: "has a space before its offset: write the + as %2B in a URL" },
  ]);
  expect(await problem("GET", `${list}%2B00:00`)).toMatchObject({ answered: 200 });
});

test("a version that an orchestration does not have is named", async () => {
  expect(await problem("GET", "/api/v2/orchestrations/orch_smoke?version=99")).toMatchObject({
    answered: 404,
    detail: "There is no orchestration orch_smoke of version 99.",
  });
});

// Fails when an unknown field inside of an object is treated otherwise than one at the top.
test("an unknown field inside of another one is ignored under `Prefer: handling=lenient`, with `Preference-Applied` in the answer", async () => {
  const body = { tenant_id: "lenient", retention: { runs_days: 3, colour: 2 } };
  const answer = await app.call("POST", "/scale/tenants", { body, headers: { prefer: "handling=lenient" } });
  expect([answer.status, answer.headers.get("preference-applied")]).toEqual([201, "handling=lenient"]);
  const saved = await bodyOf(await app.call("GET", "/scale/tenants/lenient"));
  expect(saved["retention"]).toMatchObject({ runs_days: 3 });
  expect(saved["retention"]).not.toHaveProperty("colour");
});

test("an empty cursor is the first page", async () => {
  for (const path of ["/scale/dlq/retry", "/api/v2/orchestrations/runs:cancel"]) {
    expect(await problem("POST", path, { all: true, dry_run: true, cursor: "" })).toMatchObject({
      answered: 200,
    });
  }
});

// Fails when a client that sends `Content-Type: application/json` with every request cannot leave out an optional body.
test("an optional body may be empty although the content type is JSON", async () => {
  const key = z
    .string()
    .parse(
      (await problem("POST", "/scale/api-keys", { tenant_id: "acme", name: "k", scopes: ["runs:read"] }))[
        "id"
      ],
    );
  expect(await problem("POST", `/scale/api-keys/${key}/rotate`, "")).toMatchObject({ answered: 201 });
  const unknown = "/api/v2/orchestrations/runs/run_000000000000_1780499750067/retry";
  expect(await problem("POST", unknown, "")).toMatchObject({ answered: 404, code: "not_found" });
  expect(await problem("POST", unknown, "{")).toMatchObject({ answered: 400, code: "malformed_json" });
});

// curl sends the first of these for `-d ""`. Fails when the validators of zod-openapi read the type: they answer with a 500 then.
test.each(["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"])(
  "an optional body may be empty although the content type is %s",
  async (type) => {
    const unknown = "/api/v2/orchestrations/runs/run_000000000000_1780499750067/retry";
    const answer = await app.call("POST", unknown, { body: "", headers: { "content-type": type } });
    expect([answer.status, await bodyOf(answer)]).toMatchObject([404, { code: "not_found" }]);
  },
);

// RFC 9110 allows white space before the semicolon, and one without a parameter. Fails when zod-openapi reads the type: it knows neither.
test.each(["application/json ; charset=utf-8", "application/json;", "application/vnd.acme.v2+json"])(
  "a body may have the content type %s",
  async (type) => {
    const body = '{"name":"A"}';
    const saved = await app.call("PUT", "/api/v2/agents/typed", { body, headers: { "content-type": type } });
    expect(saved.status).toBe(200);
  },
);

test("a save of a tenant that is being deleted is a 409 tenant_deleted", async () => {
  await app.call("POST", "/scale/tenants", { body: { tenant_id: "gone" } });
  await app.call("DELETE", "/scale/tenants/gone");
  expect(await problem("POST", "/scale/tenants", { tenant_id: "gone" })).toMatchObject({
    answered: 409,
    code: "tenant_deleted",
    title: "The tenant was deleted",
  });
});

test("the documentation is also found beside the API's document", async () => {
  const answer = await app.call("GET", "/api/v2/docs", { key: null });
  expect([answer.status, answer.headers.get("location")]).toEqual([302, "/docs"]);
});

test("the API's document is also found at the root", async () => {
  const answer = await app.call("GET", "/openapi.json", { key: null });
  expect([answer.status, answer.headers.get("location")]).toEqual([302, "/api/v2/openapi.json"]);
});

// Fails when the names are collected without a bound: two hundred thousand arguments overflow the stack.
test("two hundred thousand unknown names are a 422 that names five of them, in a body and in a URL", async () => {
  const names = Array.from({ length: 200_000 }, (_, i) => `k${i}`);
  const attachment = Object.fromEntries(names.map((name) => [name, 0]));
  const body = await problem("POST", "/api/v2/chat", { message: "hi", attachments: [attachment] });
  const paths = names.slice(0, 5).map((name) => ({ path: `attachments[0].${name}` }));
  expect(body).toMatchObject({ answered: 422, errors: paths });
  const url = await problem("GET", `/api/v2/orchestrations/runs?${names.slice(0, 1_000).join("&")}`);
  expect(url).toMatchObject({ answered: 422, errors: names.slice(0, 5).map((path) => ({ path })) });
});

// Fails when a client that sends a name of a megabyte gets a larger answer, which each proxy and log on the way keeps.
test.each([
  ["POST", RUN, { ["k".repeat(900_000)]: 0 }, 422],
  ["PUT", "/api/v2/agents/long", { name: "A", ["k".repeat(900_000)]: 0 }, 422],
  ["GET", `/api/v2/orchestrations/${"k".repeat(30_000)}`, undefined, 404],
  ["GET", `/api/v2/orchestrations/runs?${"k".repeat(30_000)}=1`, undefined, 422],
])("an error repeats the beginning of a long text alone: %s", async (method, path, body, status) => {
  const answer = await app.call(method, path, body === undefined ? {} : { body });
  const text = await answer.text();
  expect([answer.status, text.includes("kkk…"), text.length < 5_000]).toEqual([status, true, true]);
});

test("an error about the whole body says so in its detail", async () => {
  expect(await problem("POST", runPath("run_000000000000_1780499750067", "cancel"), [])).toMatchObject({
    answered: 422,
    detail: "Not valid: the body.",
  });
});

test.each([
  ["text/json", "Send the body as JSON, with Content-Type: application/json: this one has text/json."],
  [
    "application/json, application/json",
    "Send the body as JSON, with Content-Type: application/json: this one has application/json, application/json.",
  ],
  ["", "Send the body as JSON, with Content-Type: application/json: this one has none."],
])("a body with the Content-Type '%s' is refused with that type", async (type, detail) => {
  const answer = await app.call("POST", RUN, { body: "{}", headers: { "content-type": type } });
  expect([answer.status, (await bodyOf(answer))["detail"]]).toEqual([415, detail]);
});

// A base address that ends with a slash gives such paths.
test.each(["//api/v2/orchestrations/runs", "/api/v2//chat"])(
  "the 404 of %s names the empty part of the path",
  async (path) => {
    expect(await problem("GET", path)).toMatchObject({
      answered: 404,
      detail: "There is no such path: it has // where one slash belongs.",
    });
  },
);

// Fails when a client that encodes in Latin-1 gets the rows of nobody, or a file with another name than it has.
test.each([
  ["GET", "/api/v2/orchestrations/runs?metadata.user=Jos%E9", "metadata.user"],
  ["GET", "/api/v2/orchestrations/runs?metadata.share=50%25&metadata.user=%", "metadata.user"],
  ["POST", "/api/v2/uploads?name=caf%E9.txt", "name"],
  ["GET", "/api/v2/orchestrations/runs?metadata.%C3%=1", "metadata.%C3%"],
])("%s %s is refused with the parameter that is no percent-encoded UTF-8", async (method, path, name) => {
  const message = "must be UTF-8 in percent-encoding: é is %C3%A9, and % is %25";
  expect((await problem(method, path))["errors"]).toEqual([{ path: name, message }]);
});

// Fails when a request with a platform key and without `tenant_id` gets a 404 that does not name the tenant in which it looked.
test.each([
  ["/api/v2/schedules/nightly", "The tenant default has no schedule nightly."],
  ["/api/v2/triggers/trg_00000000000000000000000000000000", "The tenant default has no such trigger."],
  ["/api/v2/webhook-endpoints/orders", "The tenant default has no webhook endpoint orders."],
  ["/scale/budgets/month", "The tenant default has no budget month."],
])("a 404 of %s names the tenant in which the edge looked", async (path, detail) => {
  expect(await problem("DELETE", path)).toMatchObject({ answered: 404, code: "not_found", detail });
});

test("a limit of calls to the demo, which no provider executes, is refused with the reason", async () => {
  expect(
    await problem("PUT", "/scale/provider-limits", { model: "demo/*", max_concurrent: 1 }),
  ).toMatchObject({
    answered: 422,
    errors: [{ path: "model", message: expect.stringContaining("demo is none") }],
  });
});
