import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const LIST = "/api/v2/orchestrations/runs";
const Page = z.object({
  data: z.array(z.looseObject({ run_id: z.string() })),
  next_cursor: z.string().nullable(),
});
const list = async (query: string, key?: string) => {
  const answer = await app.call("GET", `${LIST}?${query}`, key === undefined ? {} : { key });
  expect(answer.status).toBe(200);
  const { data, next_cursor } = Page.parse(await answer.json());
  return { ids: data.map(({ run_id }) => run_id), data, next_cursor };
};

test("a list has the runs of the key's tenant, as their status shows them, and no other tenant's", async () => {
  const [keyOfOne, keyOfTwo] = [await app.stores.key("one"), await app.stores.key("two")];
  const first = await startRun(app, { key: keyOfOne, body: { message: "m", metadata: { customer: 7 } } });
  const second = await startRun(app, { key: keyOfOne, body: { message: "m", session_id: "s" } });
  const other = await startRun(app, { key: keyOfTwo });
  const { data, ids, next_cursor } = await list("", keyOfOne);
  expect([ids, next_cursor]).toEqual([[second, first], null]);
  const {
    waiting: _waiting,
    waits: _waits,
    children: _children,
    ...shown
  } = await bodyOf(await app.call("GET", runPath(first, "status")));
  expect(data[1]).toEqual(shown);
  expect((await list("tenant_id=two")).ids).toEqual([other]);
  expect((await list("metadata.customer=7", keyOfOne)).ids).toEqual([first]);
  expect((await list("metadata.customer=7", keyOfTwo)).ids).toEqual([]);
  expect((await list("session_id=s", keyOfOne)).ids).toEqual([second]);
  expect((await list("status=completed,failed", keyOfOne)).ids).toEqual([]);
  expect((await list("status=queued&orchestration_id=orch_smoke", keyOfOne)).ids).toEqual([second, first]);
  expect((await list("until=2026-01-01T00:00:00%2B02:00", keyOfOne)).ids).toEqual([]);
  expect((await app.call("GET", `${LIST}?tenant_id=two`, { key: keyOfOne })).status).toBe(403);
});

test("the operators' list is an array with the next page in Link, below both prefixes, and needs the scope admin", async () => {
  const key = await app.stores.key("paged");
  const runs = [await startRun(app, { key }), await startRun(app, { key }), await startRun(app, { key })];
  for (const prefix of ["/scale", "/api/scale"]) {
    const ids: string[] = [];
    let path: string | undefined = `${prefix}/runs?limit=1`;
    while (path !== undefined) {
      const answer = await app.call("GET", path, { key });
      for (const { run_id } of z.array(z.looseObject({ run_id: z.string() })).parse(await answer.json()))
        ids.push(run_id);
      path = /^<(.*)>; rel="next"$/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    expect(ids).toEqual(runs.toReversed());
  }
  const reader = await app.stores.key("paged", ["runs:read"]);
  expect((await app.call("GET", "/scale/runs", { key: reader })).status).toBe(403);
  const writer = await app.stores.key("paged", ["runs:write"]);
  expect((await app.call("GET", LIST, { key: writer })).status).toBe(403);
});

test.each([
  ["status=done", 422, "status"],
  ["limit=201", 422, "limit"],
  ["metadat.customer=7", 422, "metadat.customer"],
  ["metadata=7", 422, "metadata"],
  ["metadata.a=1&metadata.a=2", 422, "metadata.a"],
  ["metadata.a=1&metadata.b=1&metadata.c=1&metadata.d=1&metadata.e=1&metadata.f=1", 422, "metadata"],
  [`metadata.a=${"x".repeat(1_000)}`, 422, "metadata.a"],
  ["cursor=run_1", 400, null],
  ["cursor=99.run_1", 400, null],
])("a request for a list with %.60s is refused with the reason", async (query, status, path) => {
  const answer = await app.call("GET", `${LIST}?${query}`);
  const problem = await bodyOf(answer);
  expect([answer.status, problem.code]).toEqual([status, status === 400 ? "bad_cursor" : "invalid"]);
  if (path !== null) expect(problem.errors).toMatchObject([{ path }]);
});
