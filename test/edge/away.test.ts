import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { keys } from "../../shared/keys.ts";
import { rebuildShard } from "../shared/queue/rebuild-shard.ts";
import { startRedis } from "../services/services.ts";
import { until } from "../services/waiting.ts";
import { RUN, bodyOf, runPath, startApp, startRun, type TestApp } from "./app.ts";
import { failRun } from "./fake-workers.ts";
import { completeIndex } from "./test-stores.ts";

const code = async (answer: Response) => [answer.status, (await bodyOf(answer)).code];
const post = (app: TestApp, tenant_id: string, headers: Record<string, string> = {}) =>
  app.call("POST", RUN, { body: { tenant_id }, headers });
const queued = async (app: TestApp, tenant: string) => {
  const [row] = await app.stores.sql`
    select count(*)::int as n from runs where tenant_id = ${tenant} and status = 'queued'`;
  return row?.n;
};

describe("while Redis is unreachable", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
    await app.stores.service.stop();
  });
  afterAll(() => app.stop());

  test("a run is accepted by the count of Postgres, also for a new tenant", async () => {
    const answer = await post(app, "newcomer");
    expect(answer.status).toBe(202);
    const { run_id } = await bodyOf(answer);
    const status = await bodyOf(await app.call("GET", runPath(String(run_id), "status")));
    expect(status).toMatchObject({ status: "queued", tenant_id: "newcomer" });
  });

  test("a tenant's queue accepts exactly its limit, however many requests arrive at once, and its 429 has a Retry-After", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "ten", max_queued_runs: 10 } });
    const answers = await Promise.all(Array.from({ length: 60 }, () => post(app, "ten")));
    const statuses = answers.map((answer) => answer.status);
    expect(statuses.filter((status) => status === 202)).toHaveLength(10);
    const refused = answers.find((answer) => answer.status === 429);
    expect(refused?.headers.get("retry-after")).toBe("5");
    expect(refused && (await bodyOf(refused)).code).toBe("queue_full");
    expect(await queued(app, "ten")).toBe(10);
  });

  test("a repeated request is replayed, an unknown orchestration is 404, a disabled tenant is refused", async () => {
    const key = { "idempotency-key": "once" };
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "small", max_queued_runs: 1 } });
    const first = await post(app, "small", key);
    const repeated = await post(app, "small", key);
    expect([repeated.status, repeated.headers.get("idempotent-replayed")]).toEqual([202, "true"]);
    expect(await repeated.json()).toEqual(await first.json());
    expect(await code(await post(app, "small", { "idempotency-key": "twice" }))).toEqual([429, "queue_full"]);
    const conflicting = await app.call("POST", RUN, {
      body: { tenant_id: "small", message: "x" },
      headers: key,
    });
    expect(await code(conflicting)).toEqual([409, "idempotency_conflict"]);
    const unknown = await app.call("POST", "/api/v2/orchestrations/nope/run", { body: { tenant_id: "t" } });
    expect(await code(unknown)).toEqual([404, "not_found"]);
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "off", max_concurrent_runs: 0 } });
    expect(await code(await post(app, "off"))).toEqual([429, "tenant_disabled"]);
  });

  test("a cancel ends a queued run, and Postgres checks the quota of a retry", async () => {
    const { run_id } = await bodyOf(await post(app, "ended"));
    const cancelled = await app.call("POST", runPath(String(run_id), "cancel"));
    expect(await cancelled.json()).toMatchObject({ status: "cancelled" });
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "ended", max_queued_runs: 1 } });
    expect((await app.call("POST", runPath(String(run_id), "retry"))).status).toBe(202);
    const { run } = await failRun(app.stores.sql, String(run_id));
    expect((await post(app, "ended")).status).toBe(202);
    expect(await code(await app.call("POST", runPath(run, "retry")))).toEqual([429, "queue_full"]);
    const status = await bodyOf(await app.call("GET", runPath(run, "status")));
    expect(status).toMatchObject({ status: "failed" });
  });

  test("batches of many tenants do not deadlock", async () => {
    const tenants = Array.from({ length: 8 }, (_, i) => `crowd-${i}`);
    const answers = await Promise.all(
      Array.from({ length: 80 }, (_, i) => post(app, tenants[(i * 5) % 8] ?? "")),
    );
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 80 }, () => 202));
  });
});

describe("when Redis is unreachable for a time and loses nothing", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.stop());

  // Fails when `invalidateCountsOf` is not called, or `updateQueue` does not try a second time.
  test("no limit is exceeded when it is back, and it gets the jobs of the runs that were accepted meanwhile", async () => {
    const statuses = async (n: number) =>
      (await Promise.all(Array.from({ length: n }, () => post(app, "five")))).map(({ status }) => status);
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "five", max_queued_runs: 5 } });
    expect(await statuses(1)).toEqual([202]);
    await app.settled();
    await app.stores.withoutRedis(async () => {
      const requests = vi.spyOn(globalThis, "fetch");
      expect(await statuses(3)).toEqual([202, 202, 202]);
      const { settledResults } = requests.mock;
      await until("the first enqueue has failed", () =>
        settledResults.every(({ type }) => type !== "incomplete"),
      );
      requests.mockRestore();
    });
    expect(await app.stores.queue.stats(0)).toMatchObject({ ready: 1 });
    expect((await statuses(4)).toSorted((a, b) => a - b)).toEqual([202, 429, 429, 429]);
    expect(await queued(app, "five")).toBe(5);
    await app.settled();
    expect(await app.stores.queue.stats(0)).toMatchObject({ ready: 5, reserved: 0 });
  });
});

test("without tenant isolation Postgres checks no quota either", async () => {
  const open = await startApp({ ENABLE_TENANT_ISOLATION: "0" });
  try {
    await open.call("POST", "/scale/tenants", { body: { tenant_id: "t", max_queued_runs: 1 } });
    await open.stores.service.stop();
    for (let i = 0; i < 3; i++) await startRun(open, { body: { tenant_id: "t" } });
  } finally {
    await open.stop();
  }
});

describe("while the queue is cold or being rebuilt", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.stop());
  afterEach(() => completeIndex(app.stores.queue));

  test("a run is accepted by the count of Postgres", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "two", max_queued_runs: 2 } });
    await app.stores.redis.del(`{${keys.ready(0)}}:index`);
    expect((await post(app, "two")).status).toBe(202);
    await rebuildShard(app.stores.queue, 0);
    expect((await post(app, "two")).status).toBe(202);
    expect(await code(await post(app, "two"))).toEqual([429, "queue_full"]);
  });
});

describe("with ACCEPT_WHEN_REDIS_DOWN=0", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp({ ACCEPT_WHEN_REDIS_DOWN: "0" });
  });
  afterAll(() => app.stop());

  test("a cold queue is 503 rebuilding, and nothing is committed", async () => {
    await app.settled();
    await app.stores.redis.del(`{${keys.ready(0)}}:index`);
    const answer = await post(app, "default");
    expect(answer.headers.get("retry-after")).toBe("3");
    expect(await code(answer)).toEqual([503, "rebuilding"]);
    expect(await queued(app, "default")).toBe(0);
    expect((await app.call("GET", "/api/v2/queue/stats")).status).toBe(503);
    expect(await bodyOf(await app.call("GET", "/health"))).toMatchObject({ redis_connected: true });
    await completeIndex(app.stores.queue);
  });

  test("an unreachable Redis is 503 redis_away, reads from Postgres still work, and runs are accepted when it is back", async () => {
    const run = await startRun(app);
    await app.settled();
    const { port } = app.stores.service;
    await app.stores.service.stop();
    const sent = vi.spyOn(globalThis, "fetch");
    const answer = await post(app, "default");
    // One call of the queue: each further one would wait for its time limit.
    expect(sent).toHaveBeenCalledTimes(1);
    sent.mockRestore();
    expect(answer.headers.get("retry-after")).toBe("2");
    expect(await code(answer)).toEqual([503, "redis_away"]);
    expect((await app.call("GET", runPath(run, "status"))).status).toBe(200);
    // The health is read once a second.
    const health = async () => bodyOf(await app.call("GET", "/health"));
    await expect.poll(health).toMatchObject({ status: "degraded", redis_connected: false });
    const back = await startRedis(port);
    try {
      await expect.poll(() => app.stores.redis.ping().catch(() => ""), { timeout: 100_000 }).toBe("PONG");
      await completeIndex(app.stores.queue);
      await expect.poll(async () => (await post(app, "default")).status).toBe(202);
    } finally {
      await back.stop();
    }
  });
});
