import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyOf, RUN, runPath, startApp, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const problem = async (method: string, path: string, body?: object) => {
  const answer = await app.call(method, path, body === undefined ? {} : { body });
  return { answered: answer.status, ...(await bodyOf(answer)) };
};

test.each([
  ["GET", "/api/v2/orchestrations/runs?since=0000-01-01T00:00:00Z", "since"],
  ["GET", "/scale/tenants/acme/usage?from=0000-01-01", "from"],
])("%s %s names the time that cannot be", async (method, path, field) => {
  expect(await problem(method, path)).toMatchObject({
    answered: 422,
    errors: [{ path: field, message: "must be in the year 0001 or later" }],
  });
});

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
])("%s %s says what an id looks like", async (method, path, detail) => {
  const body = method === "POST" ? { message: "hi" } : undefined;
  expect(await problem(method, path, body)).toMatchObject({
    answered: 404,
    code: "not_found",
    detail: expect.stringMatching(detail),
  });
});

test("a tenant that is being deleted is a conflict of its own", async () => {
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
