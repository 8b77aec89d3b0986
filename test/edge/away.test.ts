import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { keys } from "../../shared/keys.ts";
import { rebuild } from "../shared/queue/open-index.ts";
import { startRedis } from "../services/services.ts";
import { RUN, bodyOf, runPath, startApp, startRun, type TestApp } from "./app.ts";
import { failed } from "./fake-workers.ts";
import { openQueue } from "./world.ts";

const code = async (answer: Response) => [answer.status, (await bodyOf(answer)).code];
const post = (app: TestApp, tenant_id: string, headers: Record<string, string> = {}) =>
  app.call("POST", RUN, { body: { tenant_id }, headers });
const queued = async (app: TestApp, tenant: string) => {
  const [row] = await app.world.sql`
    select count(*)::int as n from runs where tenant_id = ${tenant} and status = 'queued'`;
  return row?.n;
};

describe("while Redis is away", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
    await app.world.service.stop();
  });
  afterAll(() => app.stop());

  test("a run is accepted by the database's own count, also of a tenant that is new", async () => {
    const answer = await post(app, "newcomer");
    expect(answer.status).toBe(202);
    const { run_id } = await bodyOf(answer);
    const status = await bodyOf(await app.call("GET", runPath(String(run_id), "status")));
    expect(status).toMatchObject({ status: "queued", tenant_id: "newcomer" });
  });

  test("a tenant's queue takes exactly its limit, however many ask at once, and its 429 says when to come back", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "ten", max_queued_runs: 10 } });
    const answers = await Promise.all(Array.from({ length: 60 }, () => post(app, "ten")));
    const statuses = answers.map((answer) => answer.status);
    expect(statuses.filter((status) => status === 202)).toHaveLength(10);
    const refused = answers.find((answer) => answer.status === 429);
    expect(refused?.headers.get("retry-after")).toBe("5");
    expect(refused && (await bodyOf(refused)).code).toBe("queue_full");
    expect(await queued(app, "ten")).toBe(10);
  });

  test("what is asked for twice is done once, what does not exist is 404, who may not is told so", async () => {
    const key = { "idempotency-key": "once" };
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "small", max_queued_runs: 1 } });
    const first = await post(app, "small", key);
    const again = await post(app, "small", key);
    expect([again.status, again.headers.get("idempotent-replayed")]).toEqual([202, "true"]);
    expect(await again.json()).toEqual(await first.json());
    expect(await code(await post(app, "small", { "idempotency-key": "twice" }))).toEqual([429, "queue_full"]);
    const other = await app.call("POST", RUN, { body: { tenant_id: "small", message: "x" }, headers: key });
    expect(await code(other)).toEqual([409, "idempotency_conflict"]);
    const nowhere = await app.call("POST", "/api/v2/orchestrations/nope/run", { body: { tenant_id: "t" } });
    expect(await code(nowhere)).toEqual([404, "not_found"]);
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "off", max_concurrent_runs: 0 } });
    expect(await code(await post(app, "off"))).toEqual([429, "tenant_disabled"]);
  });

  test("a cancel ends a run that waits, and a retry passes the database's count", async () => {
    const { run_id } = await bodyOf(await post(app, "ended"));
    const cancelled = await app.call("POST", runPath(String(run_id), "cancel"));
    expect(await cancelled.json()).toMatchObject({ status: "cancelled" });
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "ended", max_queued_runs: 1 } });
    expect((await app.call("POST", runPath(String(run_id), "retry"))).status).toBe(202);
    const { run } = await failed(app.world.sql, String(run_id));
    expect((await post(app, "ended")).status).toBe(202);
    expect(await code(await app.call("POST", runPath(run, "retry")))).toEqual([429, "queue_full"]);
    const status = await bodyOf(await app.call("GET", runPath(run, "status")));
    expect(status).toMatchObject({ status: "failed" });
  });

  test("many tenants at once do not lock each other out", async () => {
    const tenants = Array.from({ length: 8 }, (_, i) => `crowd-${i}`);
    const answers = await Promise.all(
      Array.from({ length: 80 }, (_, i) => post(app, tenants[(i * 5) % 8] ?? "")),
    );
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 80 }, () => 202));
  });
});

describe("while Redis cannot be reached for a while, and keeps its memory", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.stop());

  // Red when: `placeOf` does not ask whether the queue is doubtful; or `tellQueue` gives up at once.
  test("no limit is passed when it is back, and what was accepted without it is shown to it", async () => {
    const statuses = async (n: number) =>
      (await Promise.all(Array.from({ length: n }, () => post(app, "five")))).map(({ status }) => status);
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "five", max_queued_runs: 5 } });
    expect(await statuses(1)).toEqual([202]);
    await app.settled();
    await app.world.withoutRedis(async () => {
      expect(await statuses(3)).toEqual([202, 202, 202]);
      await sleep(500); // in vain it is told of them
    });
    expect(await app.world.queue.stats(0)).toMatchObject({ ready: 1 });
    expect((await statuses(4)).toSorted((a, b) => a - b)).toEqual([202, 429, 429, 429]);
    expect(await queued(app, "five")).toBe(5);
    await app.settled();
    expect(await app.world.queue.stats(0)).toMatchObject({ ready: 5, reserved: 0 });
  });
});

test("without isolation the database does not count either", async () => {
  const open = await startApp({ ENABLE_TENANT_ISOLATION: "0" });
  try {
    await open.call("POST", "/scale/tenants", { body: { tenant_id: "t", max_queued_runs: 1 } });
    await open.world.service.stop();
    for (let i = 0; i < 3; i++) await startRun(open, { body: { tenant_id: "t" } });
  } finally {
    await open.stop();
  }
});

describe("while the queue is cold or rebuilt", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.stop());
  afterEach(() => openQueue(app.world.queue));

  test("a run is accepted, and counted by the database", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "two", max_queued_runs: 2 } });
    await app.world.redis.del(`{${keys.ready(0)}}:index`);
    expect((await post(app, "two")).status).toBe(202);
    await rebuild(app.world.queue, 0);
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
    await app.world.redis.del(`{${keys.ready(0)}}:index`);
    const answer = await post(app, "default");
    expect(answer.headers.get("retry-after")).toBe("3");
    expect(await code(answer)).toEqual([503, "rebuilding"]);
    expect(await queued(app, "default")).toBe(0);
    expect((await app.call("GET", "/api/v2/queue/stats")).status).toBe(503);
    expect(await bodyOf(await app.call("GET", "/health"))).toMatchObject({ redis_connected: true });
    await openQueue(app.world.queue);
  });

  test("a Redis that is gone is 503 redis_away; what is known to Postgres is still told, and back it takes runs", async () => {
    const run = await startRun(app);
    await app.settled();
    const { port } = app.world.service;
    await app.world.service.stop();
    const begun = performance.now();
    const answer = await post(app, "default");
    // Repeated calls of the queue would take longer still.
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(answer.headers.get("retry-after")).toBe("2");
    expect(await code(answer)).toEqual([503, "redis_away"]);
    expect((await app.call("GET", runPath(run, "status"))).status).toBe(200);
    expect(await bodyOf(await app.call("GET", "/health"))).toMatchObject({
      status: "degraded",
      redis_connected: false,
    });
    const back = await startRedis(port);
    try {
      await expect.poll(() => app.world.redis.ping().catch(() => ""), { timeout: 5_000 }).toBe("PONG");
      await openQueue(app.world.queue);
      await expect.poll(async () => (await post(app, "default")).status, { timeout: 10_000 }).toBe(202);
    } finally {
      await back.stop();
    }
  });
});
