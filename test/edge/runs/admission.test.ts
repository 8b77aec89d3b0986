import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { keys } from "../../../shared/keys.ts";
import { startRedis } from "../../services/services.ts";
import { bodyOf, RUN, startApp, startRun, type TestApp } from "../app.ts";
import { completeIndex } from "../test-stores.ts";

/** Refuses runs while the queue is unreachable; away.test.ts tests the other mode. */
const STRICT = { ACCEPT_WHEN_REDIS_DOWN: "0" };

let app: TestApp;
beforeAll(async () => {
  app = await startApp(STRICT);
});
afterAll(() => app.stop());

const limit = (tenant_id: string, limits: Record<string, number>) =>
  app.call("POST", "/scale/tenants", { body: { tenant_id, ...limits } });

const post = (tenant_id: string, headers: Record<string, string> = {}) =>
  app.call("POST", RUN, { body: { message: "hi", tenant_id }, headers });

/** The responses to 200 requests of 50 clients. */
async function flood(tenant: string) {
  const answers: Response[] = [];
  const client = async () => {
    for (let i = 0; i < 4; i++) answers.push(await post(tenant));
  };
  await Promise.all(Array.from({ length: 50 }, client));
  return answers;
}

describe("a tenant's limits", () => {
  test("200 requests by 50 clients against max_queued_runs give exactly the limit, and 429 with Retry-After", async () => {
    await limit("flood", { max_queued_runs: 37 });
    const answers = await flood("flood");
    const refused = answers.filter((answer) => answer.status === 429);
    expect(answers.filter((answer) => answer.status === 202)).toHaveLength(37);
    expect(refused).toHaveLength(163);
    for (const answer of refused) {
      expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
      expect(await bodyOf(answer)).toMatchObject({ code: "queue_full" });
    }
    const [row] = await app.stores.sql`select count(*)::int as n from runs where tenant_id = 'flood'`;
    expect(row).toEqual({ n: 37 });
  });

  test("a flood of a new tenant, which the queue does not know, gets the default limits", async () => {
    const answers = await flood("never-seen");
    expect(answers.every((answer) => answer.status === 202)).toBe(true);
    const [row] = await app.stores.sql`select count(*)::int as n from tenants where tenant_id = 'never-seen'`;
    expect(row).toEqual({ n: 1 });
  });

  test("the rate limit holds, and Retry-After has the time to wait", async () => {
    await limit("rated", { requests_per_second: 5 });
    const answers = await Promise.all(Array.from({ length: 30 }, () => post("rated")));
    const refused = answers.filter((answer) => answer.status === 429);
    expect(refused.length).toBeGreaterThanOrEqual(20);
    expect(refused.every((answer) => answer.headers.get("retry-after") === "1")).toBe(true);
    expect(await bodyOf(refused[0] ?? new Response("{}"))).toMatchObject({ code: "rate_limited" });
  });

  test("50 clients start exactly runs_per_minute runs; the refusal says when the minute has room, and a run that was not committed gives its start back", async () => {
    await limit("minute", { runs_per_minute: 23 });
    const missing = await app.call("POST", "/api/v2/orchestrations/orch_none/run", {
      body: { message: "hi", tenant_id: "minute" },
    });
    expect(missing.status).toBe(404);
    await app.settled();
    const startedMs = performance.now();
    const answers = await flood("minute");
    const tookSeconds = (performance.now() - startedMs) / 1_000;
    expect(answers.filter((answer) => answer.status === 202)).toHaveLength(23);
    const refused = answers.filter((answer) => answer.status === 429);
    expect(refused).toHaveLength(177);
    for (const answer of refused) {
      const seconds = Number(answer.headers.get("retry-after"));
      expect(seconds).toBeGreaterThan(59 - tookSeconds);
      expect(seconds).toBeLessThanOrEqual(61);
      expect(answer.headers.get("ratelimit-policy")).toBe('"runs";q=23;qu="runs";w=60');
      expect(answer.headers.get("ratelimit")).toBe(`"runs";r=0;t=${seconds}`);
    }
  });

  test("a 202 has what is left of each limit, and a 503 says when to try again", async () => {
    await limit("informed", { runs_per_minute: 9, max_queued_runs: 5, requests_per_second: 100 });
    const answer = await post("informed");
    expect(answer.headers.get("ratelimit-policy")).toBe(
      '"requests";q=100;w=1, "queued";q=5;qu="queued-runs", "runs";q=9;qu="runs";w=60',
    );
    expect(answer.headers.get("ratelimit")).toMatch(
      /^"requests";r=99;t=1, "queued";r=4, "runs";r=8;t=6[01]$/,
    );
    const away = await app.stores.withoutRedis(() => post("informed"));
    expect([away.status, away.headers.get("retry-after"), away.headers.get("ratelimit")]).toEqual([
      503,
      "2",
      '"service";r=0;t=2',
    ]);
  });

  test("a tenant with a limit of 0 starts no run, and a raised limit takes effect at once", async () => {
    await limit("off", { max_queued_runs: 0 });
    expect((await post("off")).status).toBe(429);
    await limit("off", { max_queued_runs: 1 });
    expect((await post("off")).status).toBe(202);
    expect((await post("off")).status).toBe(429);
  });

  test("a repeated request is replayed even when the queue is full", async () => {
    await limit("replayed", { max_queued_runs: 1 });
    const key = { "idempotency-key": "once" };
    const first = await post("replayed", key);
    expect((await post("replayed")).status).toBe(429);
    const repeated = await post("replayed", key);
    expect([repeated.status, repeated.headers.get("idempotent-replayed")]).toEqual([202, "true"]);
    expect(await repeated.json()).toEqual(await first.json());
  });

  test("a run of an unknown orchestration returns its reservation", async () => {
    await limit("unplaced", { max_queued_runs: 1 });
    const body = { tenant_id: "unplaced" };
    expect((await app.call("POST", "/api/v2/orchestrations/nope/run", { body })).status).toBe(404);
    await app.settled();
    expect((await post("unplaced")).status).toBe(202);
  });
});

test("a system at its depth limit returns 503 to every tenant", async () => {
  const small = await startApp({ MAX_GLOBAL_QUEUE_DEPTH: "2" });
  try {
    for (const tenant_id of ["a", "b"]) await startRun(small, { body: { tenant_id } });
    const answer = await small.call("POST", RUN, { body: { tenant_id: "c" } });
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "10"]);
    // Clients of the predecessor look for the word.
    expect(await bodyOf(answer)).toMatchObject({
      code: "capacity",
      detail: expect.stringContaining("capacity"),
    });
  } finally {
    await small.stop();
  }
});

test("without tenant isolation the max_ limits are off", async () => {
  const open = await startApp({ ENABLE_TENANT_ISOLATION: "0" });
  try {
    await open.call("POST", "/scale/tenants", { body: { tenant_id: "t", max_queued_runs: 1 } });
    for (let i = 0; i < 3; i++) await startRun(open, { body: { tenant_id: "t" } });
  } finally {
    await open.stop();
  }
});

describe("while Redis is cold or unreachable", () => {
  afterEach(() => completeIndex(app.stores.queue));

  test("a cold queue is 503 rebuilding, and nothing is committed", async () => {
    await app.settled();
    await app.stores.redis.del(`{${keys.ready(0)}}:index`);
    const [before] = await app.stores.sql`select count(*)::int as n from runs`;
    const answer = await post("default");
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "3"]);
    expect(await bodyOf(answer)).toMatchObject({ code: "rebuilding" });
    expect((await app.call("GET", "/api/v2/queue/stats")).status).toBe(503);
    expect(await bodyOf(await app.call("GET", "/health"))).toMatchObject({ redis_connected: true });
    const [after] = await app.stores.sql`select count(*)::int as n from runs`;
    expect(after).toEqual(before);
  });

  test("an unreachable Redis is 503 redis_away after one call; reads from Postgres still work", async () => {
    const own = await startApp(STRICT);
    try {
      const run = await startRun(own);
      await own.settled();
      await own.stores.service.stop();
      const sent = vi.spyOn(globalThis, "fetch");
      const answer = await own.call("POST", RUN, { body: {} });
      // One call of the queue: each further one would wait for its time limit.
      expect(sent).toHaveBeenCalledTimes(1);
      sent.mockRestore();
      expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "2"]);
      expect(await bodyOf(answer)).toMatchObject({ code: "redis_away" });
      expect((await own.call("GET", `/api/v2/orchestrations/runs/${run}/status`)).status).toBe(200);
      expect(await bodyOf(await own.call("GET", "/health"))).toMatchObject({
        status: "degraded",
        redis_connected: false,
      });
      expect((await own.call("GET", "/readyz")).status).toBe(503);
      const saved = await own.call("POST", "/scale/tenants", { body: { tenant_id: "saved-anyway" } });
      expect(saved.status).toBe(201);
    } finally {
      await own.stores.service.stop();
      await own.stop();
    }
  });

  test("a Redis that comes back empty is 503 until its index is complete", async () => {
    const own = await startApp(STRICT);
    const { port } = own.stores.service;
    try {
      await own.stores.service.stop();
      const back = await startRedis(port);
      await expect.poll(async () => (await own.call("POST", RUN, { body: {} })).status).toBe(503);
      await expect
        .poll(async () => (await bodyOf(await own.call("POST", RUN, { body: {} }))).code)
        .toBe("rebuilding");
      await expect.poll(() => own.stores.redis.status).toBe("ready");
      await completeIndex(own.stores.queue);
      expect((await own.call("POST", RUN, { body: {} })).status).toBe(202);
      await own.settled();
      await back.stop();
    } finally {
      await own.stop();
    }
  });
});
