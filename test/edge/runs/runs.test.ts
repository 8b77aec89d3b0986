import { z } from "zod";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { ALL_LANES } from "../../shared/queue/fixture.ts";
import { bodyOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { ANY_LINE_END } from "../../services/any-line.ts";
import { FakeJournalWriter } from "../test-stores.ts";
import { untilOwnersCanBeSilent } from "../../shared/store/postgres-uptime.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const claimAll = async () => {
  await app.settled();
  return (
    await app.stores.queue.claim({
      shard: 0,
      owner: "w#00000000",
      leaseMs: 15_000,
      slots: 1000,
      lanes: ALL_LANES,
      ended: [],
    })
  ).runs.map(({ run }) => run);
};

describe("POST …/run", () => {
  test("returns 202 with relative URLs, and the run is committed and queued", async () => {
    const answer = await app.call("POST", RUN, {
      body: { message: "hi", priority: 3, metadata: { a: [1] }, state: { k: "v" } },
    });
    expect(answer.status).toBe(202);
    const body = await bodyOf(answer);
    const run = RunId.parse(body.run_id);
    expect(body).toEqual({
      run_id: run,
      status: "queued",
      stream_url: `/api/v2/orchestrations/runs/${run}/stream`,
      status_url: `/api/v2/orchestrations/runs/${run}/status`,
    });
    const [row] = await app.stores.sql`select * from runs where run_id = ${run}`;
    expect(row).toMatchObject({
      status: "queued",
      priority: 3,
      lane: "default",
      definition_version: 1,
      definition_tenant: "",
    });
    expect(JSON.parse(row?.input)).toEqual({ message: "hi", state: { k: "v" } });
    expect(JSON.parse(row?.metadata)).toEqual({ a: [1] });
    expect(await claimAll()).toContain(run);
  });

  // Fails when a key is dropped without an error.
  test("keeps every key of state and metadata, __proto__ too", async () => {
    const [state, metadata] = ['{"__proto__":{"x":1},"constructor":2}', '{"__proto__":null}'];
    const run = await startRun(app, { body: `{"message":"hi","state":${state},"metadata":${metadata}}` });
    const [row] = await app.stores.sql`select input, metadata from runs where run_id = ${run}`;
    expect(row).toEqual({ input: `{"message":"hi","state":${state}}`, metadata });
    const status = await app.call("GET", `/api/v2/orchestrations/runs/${run}/status`);
    expect(await status.text()).toContain(`"metadata":${metadata}`);
  });

  test("prefers the tenant's own orchestration to the shared one", async () => {
    const key = await app.stores.key("own-definition");
    const body = { name: "Own", entry_step_id: "a", steps: [{ id: "a", name: "A", type: "end" }] };
    await app.call("PUT", "/api/v2/orchestrations/orch_smoke", { key, body });
    const run = await startRun(app, { key });
    const [row] = await app.stores.sql`select definition_tenant from runs where run_id = ${run}`;
    expect(row).toEqual({ definition_tenant: "own-definition" });
  });

  test("uses the default tenant for a platform key that names none, and creates an unknown tenant", async () => {
    const run = await startRun(app);
    const named = await startRun(app, { body: { tenant_id: "brand-new" } });
    expect(await bodyOf(await app.call("GET", runPath(run, "status")))).toMatchObject({
      tenant_id: "default",
    });
    expect(await bodyOf(await app.call("GET", runPath(named, "status")))).toMatchObject({
      tenant_id: "brand-new",
    });
    const [row] = await app.stores.sql`select * from tenants where tenant_id = 'brand-new'`;
    expect(row).toMatchObject({
      max_concurrent_runs: 100,
      max_queued_runs: 1000,
      requests_per_second: 1000,
      weight: 1,
    });
  });

  test("accepts text that JSON must escape", async () => {
    const run = await startRun(app, { body: { message: 'nul \u0000, lone \ud800, quote " and \n line' } });
    const [row] = await app.stores.sql<{ input: string }[]>`select input from runs where run_id = ${run}`;
    expect(JSON.parse(row?.input ?? "").message).toBe('nul \u0000, lone \ud800, quote " and \n line');
  });
});

describe("an Idempotency-Key", () => {
  const post = (key: string, body: unknown = { message: "once" }) =>
    app.call("POST", RUN, { body, headers: { "idempotency-key": key } });

  test("replays the response for the same request, and returns 409 for another", async () => {
    const first = await post("key-1");
    const repeated = await post("key-1");
    expect(repeated.status).toBe(202);
    expect(repeated.headers.get("idempotent-replayed")).toBe("true");
    expect(first.headers.get("idempotent-replayed")).toBe(null);
    expect(await repeated.json()).toEqual(await first.json());
    expect((await post("key-1", { message: "other" })).status).toBe(409);
  });

  test("lets one of many requests at once start a run", async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => post("key-2")));
    const runs = await Promise.all(answers.map(async (answer) => (await bodyOf(answer)).run_id));
    expect(new Set(runs).size).toBe(1);
    expect(answers.filter((answer) => !answer.headers.has("idempotent-replayed"))).toHaveLength(1);
  });

  test("leaves no reservation for a replayed request", async () => {
    const tenant = TenantId.parse("key-tenant");
    const body = { tenant_id: tenant };
    for (let i = 0; i < 3; i++) await post("key-3", body);
    await app.settled();
    expect(await app.stores.queue.tenantStats(tenant)).toMatchObject({ queuedOrReserved: 1 });
  });

  test("is scoped to its tenant", async () => {
    const first = await bodyOf(await post("key-4", { tenant_id: "t-one" }));
    const second = await bodyOf(await post("key-4", { tenant_id: "t-two" }));
    expect(first.run_id).not.toBe(second.run_id);
  });
});

describe("a run", () => {
  let run: string;
  let writer: FakeJournalWriter;
  beforeEach(async () => {
    run = await startRun(app, { body: { message: "hi", correlation_id: "corr-1" } });
    writer = new FakeJournalWriter(app.stores, run);
  });

  test("has a status before, while and after it runs", async () => {
    const status = async () => bodyOf(await app.call("GET", runPath(run, "status")));
    expect(await status()).toMatchObject({
      run_id: run,
      orchestration_id: "orch_smoke",
      status: "queued",
      current_step_id: null,
      waiting_for_human: false,
      worker_id: null,
      total_cost_usd: 0,
      total_tokens_used: 0,
      started_at: null,
      ended_at: null,
      correlation_id: "corr-1",
      triggered_by: "api",
      attempt: 0,
      error: null,
      waiting: null,
    });
    await writer.claim();
    await app.stores.sql`update runs set cost_micro_usd = 47000, tokens = 12400 where run_id = ${run}`;
    const running = await status();
    expect(running).toMatchObject({
      status: "running",
      worker_id: "writer",
      attempt: 1,
      total_cost_usd: 0.047,
      total_tokens_used: 12400,
    });
    expect(running.started_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    await writer.end();
    expect(await status()).toMatchObject({
      status: "completed",
      ended_at: expect.any(String),
    });
  });

  test("has a result when it has ended", async () => {
    await writer.claim();
    await writer.end();
    expect(await bodyOf(await app.call("GET", runPath(run, "result")))).toMatchObject({
      run_id: run,
      status: "completed",
      output: "ok",
      final_state: { a: "1" },
      steps: [],
    });
  });

  test("lists its events page by page, with the ids of the stream", async () => {
    await writer.claim();
    for (const text of ["a", "b", "c"]) await writer.text(text);
    await writer.end();
    const base = run.slice(-13);
    const ids = async (query: string) => {
      const body = await bodyOf(await app.call("GET", runPath(run, `events${query}`)));
      return {
        ids: z
          .array(z.object({ id: z.string() }))
          .parse(body.events)
          .map(({ id }) => id),
        next: z.string().nullable().parse(body.next_cursor),
        count: body.count,
      };
    };
    const all = [1, 2, 3, 4, 5].map((n) => `${base}-${n}`);
    expect(await ids("")).toEqual({ ids: all, next: null, count: 5 });
    expect(await ids("?start=-&end=%2B")).toMatchObject({ ids: all });
    const page = await ids("?limit=2");
    expect(page).toEqual({ ids: all.slice(0, 2), next: all[1], count: 2 });
    expect(await ids(`?limit=2&cursor=${page.next}`)).toMatchObject({ ids: all.slice(2, 4) });
    expect(await ids(`?start=${all[1]}&end=${all[3]}`)).toMatchObject({ ids: all.slice(1, 4), next: null });
    // This cursor is in the middle of an entry of two events.
    expect(await ids(`?start=${all[4]}`)).toMatchObject({ ids: all.slice(4) });
  });
});

describe("definitions", () => {
  const definition = { name: "D", entry_step_id: "a", steps: [{ id: "a", name: "A", type: "end" }] };

  test("keep every version, and return the newest", async () => {
    const path = "/api/v2/orchestrations/orch_versions";
    expect(await bodyOf(await app.call("PUT", path, { body: definition }))).toMatchObject({
      version: 1,
      tenant_id: null,
    });
    expect(await bodyOf(await app.call("PUT", path, { body: { ...definition, name: "D2" } }))).toMatchObject({
      version: 2,
    });
    expect(await bodyOf(await app.call("GET", path))).toMatchObject({
      id: "orch_versions",
      name: "D2",
      version: 2,
    });
    expect(await bodyOf(await app.call("GET", `${path}?version=1`))).toMatchObject({ name: "D", version: 1 });
    expect((await app.call("GET", `${path}?version=3`)).status).toBe(404);
  });

  test("are listed page by page, without deleted ones", async () => {
    const key = await app.stores.key("lister");
    for (const id of ["l_1", "l_2", "l_3"])
      await app.call("PUT", `/api/v2/orchestrations/${id}`, { key, body: definition });
    await app.call("DELETE", "/api/v2/orchestrations/l_2", { key });
    const first = await app.call("GET", "/api/v2/orchestrations?limit=1", { key });
    expect(await first.json()).toMatchObject([{ id: "l_1", name: "D", updated_at: expect.any(String) }]);
    const next = /<(.*)>; rel="next"/.exec(first.headers.get("link") ?? "")?.[1] ?? "";
    expect(await (await app.call("GET", next, { key })).json()).toMatchObject([{ id: "l_3" }]);
    expect((await app.call("POST", "/api/v2/orchestrations/l_2/run", { key, body: {} })).status).toBe(404);
  });

  test("of agents and tools are saved, read, listed and deleted", async () => {
    const agent = {
      name: "Researcher",
      type: "conversational",
      system_prompt: "Be brief.",
      tools: ["web_search"],
    };
    const tool = {
      name: "web_search",
      description: "Search",
      tool_type: "http",
      url: "https://example.com/{q}",
    };
    for (const [path, body] of [
      ["agents/researcher", agent],
      ["tools/web_search", tool],
    ] as const) {
      const put = await app.call("PUT", `/api/v2/${path}`, { body });
      expect([path, put.status, await put.clone().text()]).toEqual([path, 200, expect.any(String)]);
      expect(await bodyOf(await app.call("GET", `/api/v2/${path}`))).toMatchObject({
        name: body.name,
        version: 1,
      });
      expect(await (await app.call("GET", `/api/v2/${path.split("/")[0]}`)).json()).toMatchObject([
        { name: body.name },
      ]);
      expect((await app.call("DELETE", `/api/v2/${path}`)).status).toBe(204);
      expect((await app.call("GET", `/api/v2/${path}`)).status).toBe(404);
    }
  });
});

describe("operations", () => {
  test("the queue is counted; a tenant's key gets the counts of its tenant", async () => {
    await claimAll();
    const key = await app.stores.key("counted");
    await startRun(app, { key });
    await startRun(app);
    await app.settled();
    expect(await bodyOf(await app.call("GET", "/api/v2/queue/stats"))).toMatchObject({
      queue_name: "synapse:orchestrations:default",
      queued: 2,
      active: expect.any(Number),
    });
    expect(await bodyOf(await app.call("GET", "/api/v2/queue/stats", { key }))).toMatchObject({
      queued: 1,
      active: 0,
    });
  });

  test("workers are listed", async () => {
    await app.stores.sql`
      insert into workers (incarnation, worker_id, hostname, address, status, lanes, slots, active)
      values ('w-1#00000000', 'w-1', 'host', 'http://host:9000', 'online', '{default,mail}', 10, 3)`;
    expect(await (await app.call("GET", "/api/v2/workers")).json()).toMatchObject([
      {
        worker_id: "w-1",
        incarnation: "w-1#00000000",
        hostname: "host",
        status: "online",
        lanes: ["default", "mail"],
        active_jobs: 3,
        max_jobs: 10,
        mcp_disabled: [],
      },
    ]);
  });

  // Fails when a worker is online here and silent in `…/why`, or an offline worker still has jobs.
  test("a worker is listed as silent as soon as `…/why` reports it so, and as offline without jobs", async () => {
    const { sql } = app.stores;
    await untilOwnersCanBeSilent(sql);
    const afterBeat = async (secondsAgo: number, status = "online") => {
      await sql`update workers set beat_at = now() - ${secondsAgo} * interval '1 second', status = ${status}, active = 3`;
      const list = await (await app.call("GET", "/api/v2/workers")).json();
      const [worker] = z.array(z.looseObject({ status: z.string(), active_jobs: z.number() })).parse(list);
      return [worker?.status, worker?.active_jobs];
    };
    expect(await afterBeat(5)).toEqual(["online", 3]);
    expect(await afterBeat(13)).toEqual(["silent", 3]);
    expect(await afterBeat(5, "draining")).toEqual(["draining", 3]);
    expect(await afterBeat(13, "draining")).toEqual(["silent", 3]);
    expect(await afterBeat(91)).toEqual(["offline", 0]);
    expect(await afterBeat(5, "offline")).toEqual(["offline", 0]);
    expect(await afterBeat(13, "offline")).toEqual(["offline", 0]);
  });

  test("a tenant is created and changed under both paths", async () => {
    const made = await app.call("POST", "/scale/tenants", {
      body: { tenant_id: "acme-corp", name: "ACME", max_queued_runs: 7 },
    });
    expect(made.status).toBe(201);
    expect(await made.json()).toEqual({ status: "created", tenant_id: "acme-corp" });
    await app.call("POST", "/api/scale/tenants", { body: { tenant_id: "acme-corp", weight: 5 } });
    const listed = await app.call("GET", "/api/scale/tenants?limit=200");
    const list = z.array(z.looseObject({ tenant_id: z.string() })).parse(await listed.json());
    expect(list.find((tenant) => tenant.tenant_id === "acme-corp")).toMatchObject({
      name: "ACME",
      max_queued_runs: 7,
      max_concurrent_runs: 100,
      weight: 5,
      version: 2,
    });
  });

  test("health is ok when both stores are reachable and a live worker serves the due runs", async () => {
    await app.stores.sql`update workers set beat_at = now(), status = 'online'`;
    expect(await bodyOf(await app.call("GET", "/health", { key: null }))).toEqual({
      status: "ok",
      pg_connected: true,
      redis_connected: true,
      causes: {},
      stuck: { overdue: 0, owner_silent: 0, unclaimed: 0, no_worker: [], undelivered: 0 },
    });
    expect((await app.call("GET", "/readyz", { key: null })).status).toBe(200);
    expect((await app.call("GET", "/livez", { key: null })).status).toBe(200);
  });

  test("the OpenAPI document has named schemas", async () => {
    const document = await bodyOf(await app.call("GET", "/api/v2/openapi.json", { key: null }));
    expect(document).toMatchObject({
      openapi: "3.1.0",
      components: { schemas: { Problem: {}, Run: {}, RunRequest: {} } },
    });
  });

  test("a browser's preflight request is allowed", async () => {
    const answer = await app.call("OPTIONS", RUN, {
      key: null,
      headers: { origin: "https://app.example", "access-control-request-method": "POST" },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get("access-control-allow-headers")).toContain("Last-Event-ID");
  });
});

describe("GET …/log", () => {
  const read = async (run: string, query = "", key?: string) =>
    app.call("GET", runPath(run, `log${query}`), key === undefined ? {} : { key });

  test("has a line for each event that is committed, page by page, without the pieces of model text", async () => {
    const writer = new FakeJournalWriter(app.stores, await startRun(app));
    await writer.claim();
    await writer.write([
      { type: "step_start", orch_step_id: "one", step_name: "O\u2028ne", step_type: "print" },
    ]);
    // More than two pages of the journal, of which the client sees nothing.
    for (let i = 0; i < 3; i++) await writer.text("x".repeat(200_000));
    await writer.end();
    const answer = await read(writer.run);
    expect(answer.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    const lines = (await answer.text()).split(ANY_LINE_END);
    expect(lines.map((line) => line.replace(/^\S+Z /, ""))).toEqual([
      `step_start one {"step_name":"O\\u2028ne","step_type":"print"}`,
      `orchestration_complete - {"status":"completed","final_state":{"a":"1"}}`,
      "done -",
      "",
    ]);
    const events = (await (await read(writer.run, "?format=ndjson")).text()).trimEnd().split(ANY_LINE_END);
    expect(events.map((line) => JSON.parse(line).seq)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("of a run without events is empty, and another tenant's run has none", async () => {
    const run = await startRun(app, { body: { message: "hi", tenant_id: "acme" } });
    expect(await (await read(run)).text()).toBe("");
    expect((await read(run, "", await app.stores.key("globex"))).status).toBe(404);
    expect((await read(run, "?format=xml")).status).toBe(422);
  });
});
