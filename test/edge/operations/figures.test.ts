import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { configOf } from "../../../edge/operations/config-view.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker, failRun } from "../fake-workers.ts";

const SECRETS = {
  MASTER_KEY: "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
  STATE_SECRET: "canary-of-the-state-route",
  METRICS_TOKEN: "canary-of-the-scraper",
};

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ ...SECRETS, EGRESS_ALLOW: "127.0.0.1" });
});
afterAll(() => app.stop());

test("the counts of each lane are those of the runs, and so are the figures", async () => {
  const { sql } = app.stores;
  const before = await bodyOf(await app.call("GET", "/scale/queue"));
  expect(before).toMatchObject({ available: true, queued: 0, active: 0, dlq_count: 0 });
  const runs = [];
  for (let n = 0; n < 6; n++)
    runs.push(await startRun(app, { body: { tenant_id: n === 5 ? "other" : "acme" } }));
  const [waiting, delayed, active, done, failed, old] = runs;
  await sql`update runs set wake_at = now() + interval '1 hour' where run_id = ${delayed ?? ""}`;
  await sql`update runs set lane = 'bulk' where run_id = ${waiting ?? ""}`;
  await FakeWorker.claim(sql, active ?? "");
  const end = { kind: "end", status: "completed", output: "{}" } as const;
  const worker = await FakeWorker.claim(sql, done ?? "");
  await worker.write({
    ...end,
    usage: [
      { call: "a", provider: "p", model: "m", input_tokens: 1, output_tokens: 1, cost_micro_usd: 2_000_000 },
    ],
  });
  await sql`update runs set started_at = ended_at - interval '3 seconds' where run_id = ${done ?? ""}`;
  await failRun(sql, failed ?? "");
  // A run that another one waits for has its cost in the total of that one.
  await sql`update runs set parent_run_id = ${done ?? ""}, parent_wait_id = 'a:1', cost_micro_usd = 700000
    where run_id = ${failed ?? ""}`;
  await (await FakeWorker.claim(sql, old ?? "")).write(end);
  await sql`update runs set ended_at = now() - interval '25 hours', queued_at = now() - interval '25 hours',
    started_at = now() - interval '25 hours 5 seconds' where run_id = ${old ?? ""}`;

  const none = { waiting: 0, active: 0, completed: 0, failed: 0, delayed: 0, total: 0 };
  const lane = (counts: object) => ({ ...none, ...counts, settings: expect.any(Object) });
  for (const prefix of ["/scale", "/api/scale"]) {
    expect(await bodyOf(await app.call("GET", `${prefix}/queue`))).toEqual({
      available: true,
      queued: 2,
      active: 1,
      failed: 1,
      dlq_count: 1,
      lanes: {
        interactive: lane({}),
        default: lane({ active: 1, completed: 1, failed: 1, delayed: 1, total: 4 }),
        bulk: lane({ waiting: 1, total: 1 }),
        mail: lane({}),
        webhooks: lane({}),
      },
    });
  }
  const figures = {
    available: true,
    runs_today: 5,
    total_cost_usd_today: 2,
    cache_hit_rate: null,
    workers_online: 4,
  };
  expect(await bodyOf(await app.call("GET", "/scale/analytics"))).toEqual({
    ...figures,
    total_runs: 6,
    status_counts: { queued: 2, running: 1, paused: 0, completed: 2, failed: 1, cancelled: 0 },
    success_rate: 33.3,
    avg_cost_usd: 1,
    avg_duration_seconds: 4,
  });
  // A tenant's figures are its own.
  const key = await app.stores.key("acme");
  const own = await bodyOf(await app.call("GET", "/scale/analytics", { key }));
  expect(own).toEqual({
    ...figures,
    total_runs: 5,
    status_counts: { queued: 2, running: 1, paused: 0, completed: 1, failed: 1, cancelled: 0 },
    success_rate: 20,
    avg_cost_usd: 2,
    avg_duration_seconds: 3,
  });
  expect((await app.call("GET", "/scale/analytics?tenant_id=other", { key })).status).toBe(403);
  expect((await app.call("GET", "/scale/queue", { key })).status).toBe(403);
  const ofNobody = await bodyOf(await app.call("GET", "/scale/analytics?tenant_id=nobody"));
  expect(ofNobody).toMatchObject({ total_runs: 0, success_rate: null, avg_cost_usd: null });
});

test("the configuration has each variable with its value and origin, and no secret", async () => {
  const Variables = z.array(
    z.looseObject({ name: z.string(), value: z.string().nullable(), origin: z.string() }),
  );
  const text = await (await app.call("GET", "/scale/config")).text();
  const byName = new Map(Variables.parse(JSON.parse(text)).map((variable) => [variable.name, variable]));
  expect(byName.get("MASTER_KEY")).toMatchObject({ value: "********", origin: "environment", secret: true });
  expect(byName.get("QUEUE_SHARDS")).toMatchObject({ value: "1", origin: "default", secret: false });
  expect(byName.get("EGRESS_ALLOW")).toMatchObject({ value: "127.0.0.1", origin: "environment" });
  expect(byName.get("ENABLE_TENANT_ISOLATION")).toMatchObject({ value: "1", origin: "default" });
  expect(byName.get("REDIS_URL")).toMatchObject({ change: "npx wrangler secret put REDIS_URL" });
  const { UPSTASH_REDIS_REST_TOKEN = "?", STREAM_TOKEN_SECRET = "?" } = app.stores.vars;
  for (const secret of [...Object.values(SECRETS), UPSTASH_REDIS_REST_TOKEN, STREAM_TOKEN_SECRET]) {
    expect(text).not.toContain(secret);
  }
});

test("the configuration shows a connection without its credentials", async () => {
  const url = "rediss://user:canary-password@redis.example.com:6379/0?token=canary-token";
  const env = { ...app.stores.vars, REDIS_URL: url };
  const shown = configOf(env, []).find(({ name }) => name === "REDIS_URL");
  expect(shown?.value).toBe("rediss://********@redis.example.com:6379/0");
});

describe("a test of a store", () => {
  const run = async (name: string, body?: object) => {
    const answer = await app.call("POST", `/scale/test-${name}`, body === undefined ? {} : { body });
    return { status: answer.status, body: await bodyOf(answer) };
  };
  const OK = { status: 200, body: { status: "ok" } };

  test("uses the stores of this edge, or those of a URL that the operator allows", async () => {
    for (const name of ["redis", "postgres", "s3"]) expect(await run(name)).toMatchObject(OK);
    expect(await run("redis", { redis_url: app.stores.service.url })).toMatchObject(OK);
    expect(await run("postgres", { postgres_url: app.stores.postgresUrl })).toMatchObject(OK);
  });

  test("reports why a store cannot be used, without the store's own error text", async () => {
    const wrong = new URL(app.stores.postgresUrl);
    wrong.pathname = "/canary_database";
    const { status, body } = await run("postgres", { postgres_url: wrong.href });
    expect([status, body]).toEqual([200, { status: "error", message: "The store has no such database." }]);
    // A closed port.
    const refused = { status: "error", message: "The host refused the connection." };
    expect((await run("redis", { redis_url: "redis://u:canary@127.0.0.1:1" })).body).toEqual(refused);
    expect((await run("postgres", { postgres_url: "postgres://u:canary@127.0.0.1:1/d" })).body).toEqual(
      refused,
    );
    await app.stores.withoutRedis(async () => {
      expect((await run("redis")).body).toEqual(refused);
    });
  });

  // Fails when an edge connects wherever a caller sends it: it would be a scanner of the operator's network.
  test.each([
    ["redis", { redis_url: "redis://10.0.0.1:6379" }, 403],
    ["redis", { redis_url: "redis://redis.internal:6379" }, 403],
    ["redis", { redis_url: "redis://redis.example.com" }, 403],
    ["postgres", { postgres_url: "postgres://u:p@8.8.8.8/db" }, 403],
    ["postgres", { postgres_url: "http://127.0.0.1/" }, 422],
    ["redis", { redis_url: "127.0.0.1" }, 422],
    ["postgres", { redis_url: "redis://127.0.0.1" }, 422],
  ])("of %s refuses %j", async (name, body, status) => {
    expect((await run(name, body)).status).toBe(status);
  });

  test("is for operators", async () => {
    const key = await app.stores.key("acme");
    for (const name of ["redis", "postgres", "s3"]) {
      expect((await app.call("POST", `/scale/test-${name}`, { key })).status).toBe(403);
    }
  });
});
