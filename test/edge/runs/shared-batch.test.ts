/** No run of a batch harms another run of the same batch. */
import { newRun } from "../../services/new-run.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readConfig } from "../../../edge/env.ts";
import { EdgeQueue, queueOf } from "../../../edge/runs/admit.ts";
import { submit } from "../../../edge/runs/submit.ts";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import { queueShardOf } from "../../../shared/keys.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { QUOTA_READY_AFTER_MS } from "../../../shared/timing.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { makeQuotaReady } from "../../shared/queue/rebuild-shard.ts";
import type { NewRun } from "../../../shared/contracts/run.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { pgArray } from "../../../shared/store/sql.ts";
import { bodyOf, RUN, startApp, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const runOf = (tenant: string, more: Partial<NewRun> = {}): NewRun =>
  newRun({
    tenant_id: TenantId.parse(tenant),
    orchestration_id: "orch_smoke",
    input: '{"message":"","state":{}}',
    ...more,
  });

type Query = <Result>(run: (sql: Sql) => Promise<Result>) => Promise<Result>;

/** Submits one batch, and waits for the work after it. */
async function submitBatch(
  runs: readonly NewRun[],
  query: Query = (run) => run(app.stores.sql),
  queue = queueOf(readConfig(app.stores.vars)),
) {
  const after: Promise<unknown>[] = [];
  const config = readConfig(app.stores.vars);
  const results = await submit({ config, queue, query, waitUntil: (work) => void after.push(work) }, runs);
  await Promise.all(after);
  return results;
}

async function committed(runs: readonly NewRun[]): Promise<number> {
  const ids = pgArray(runs.map(({ run_id }) => run_id));
  const rows = await app.stores.sql`select from runs where run_id = any(${ids}::text[])`;
  return rows.length;
}

class LostConnection extends Error {
  readonly code = "CONNECTION_CLOSED";
}

describe("a run with a value that cannot be stored", () => {
  test("is refused alone: the other runs of its batch are accepted and queued, and its place is given back", async () => {
    const others = Array.from({ length: 9 }, (_, i) => runOf(`quiet-${i % 3}`));
    const guilty = runOf("loud", { correlation_id: "\ud800" });
    const before = await app.stores.queue.stats(0);
    const results = await submitBatch([...others.slice(0, 4), guilty, ...others.slice(4)]);
    expect(results.filter(({ is }) => is === "accepted")).toHaveLength(9);
    expect(results[4]).toMatchObject({ is: "refused", code: "invalid" });
    expect(await committed(others)).toBe(9);
    const after = await app.stores.queue.stats(0);
    expect(after.ready - before.ready).toBe(9);
    expect(after.reserved).toBe(0);
  });

  test.each([
    ["correlation_id", "\ud800"],
    ["session_id", "a\udc00b"],
    ["session_id", "a\u0000b"],
    ["correlation_id", "\u0000"],
  ])("is a 422 that names the field (%s)", async (field, value) => {
    const answer = await app.call("POST", RUN, { body: { message: "x", [field]: value } });
    expect([answer.status, (await bodyOf(answer)).errors]).toMatchObject([422, [{ path: field }]]);
  });

  test("is stored where text may hold anything: message, state and metadata", async () => {
    const body = { message: "\ud800\u0000", state: { a: "\udc00" }, metadata: { "\ud800": "\u0000" } };
    expect((await app.call("POST", RUN, { body })).status).toBe(202);
  });

  test("may be a name with characters beyond the first plane", async () => {
    const body = { session_id: "😀 é 字", correlation_id: "𝒳" };
    expect((await app.call("POST", RUN, { body })).status).toBe(202);
  });
});

describe("a committed run", () => {
  const key = { idempotency_key: "one", request_hash: "h" };

  // Fails when one failed look-up is the result of the whole batch.
  test("is accepted and queued although the look-ups of other runs in its batch fail", async () => {
    const first = runOf("replayer", key);
    expect(await submitBatch([first])).toMatchObject([{ is: "accepted", replayed: false }]);
    await submitBatch([runOf("bystander")]);
    const fresh = Array.from({ length: 5 }, () => runOf("bystander"));
    let calls = 0;
    const before = await app.stores.queue.stats(0);
    const results = await submitBatch([...fresh, runOf("replayer", key)], (run) => {
      calls += 1;
      return calls === 1 ? run(app.stores.sql) : Promise.reject(new LostConnection("connection closed"));
    });
    expect(results.slice(0, 5).map(({ is }) => is)).toEqual(Array.from({ length: 5 }, () => "accepted"));
    expect(results[5]).toMatchObject({ is: "refused", code: "database_away" });
    expect((await app.stores.queue.stats(0)).ready - before.ready).toBe(5);
  });

  // Fails when the second enqueue makes a job of a run that has ended meanwhile: it would take a place of its tenant until it is due.
  test("that ends before a failed enqueue is repeated has no job afterwards", async () => {
    const [ended, waits] = [runOf("late", { delay_ms: 3_600_000 }), runOf("late", { delay_ms: 3_600_000 })];
    const queue = queueOf(readConfig(app.stores.vars));
    const enqueue = queue.enqueue.bind(queue);
    queue.enqueue = async () => {
      queue.enqueue = enqueue;
      await app.stores.sql`
        update runs set status = 'cancelled', ended_at = now(), wake_at = null where run_id = ${ended.run_id}`;
      await queue.finish([{ run: ended.run_id, tenant: ended.tenant_id }], "");
      throw new Error("Redis is away");
    };
    await submitBatch([ended, waits], undefined, queue);
    const { jobs } = await queue.list(0, "0", 1_000);
    const names = jobs.map(({ run }) => run);
    expect([names.includes(ended.run_id), names.includes(waits.run_id)]).toEqual([false, true]);
  });

  test("is accepted although the connection was lost before the result of its commit came", async () => {
    await submitBatch([runOf("cut-off")]);
    const runs = Array.from({ length: 3 }, () => runOf("cut-off"));
    let calls = 0;
    const results = await submitBatch(runs, async (run) => {
      calls += 1;
      const result = await run(app.stores.sql);
      if (calls === 1) throw new LostConnection("connection closed");
      return result;
    });
    expect(results.map(({ is }) => is)).toEqual(["accepted", "accepted", "accepted"]);
    expect(await committed(runs)).toBe(3);
    expect(await app.stores.queue.tenantStats(TenantId.parse("cut-off"))).toMatchObject({
      queuedOrReserved: 4,
    });
  });

  // Fails when the limits of an unknown tenant are read for all runs of the batch at once.
  test("is accepted although the limits of another tenant in its batch cannot be read", async () => {
    await submitBatch([runOf("settled")]);
    let calls = 0;
    const results = await submitBatch([runOf("settled"), runOf("never-read")], (run) => {
      calls += 1;
      return calls > 1 ? run(app.stores.sql) : Promise.reject(new LostConnection("connection closed"));
    });
    expect(results).toMatchObject([{ is: "accepted" }, { is: "refused", code: "database_away" }]);
  });
});

describe("a place in the queue", () => {
  const refusedWith = (code: string) => {
    const error = Object.assign(new Error("refused"), { name: "PostgresError", code });
    return () => Promise.reject(error);
  };
  const places = (tenant: string) => app.stores.queue.tenantStats(TenantId.parse(tenant));

  // Fails when the places of a statement that ran into its time limit stay taken for 30 s.
  test("is given back at once when the database refused the statement, which is 503 capacity", async () => {
    await submitBatch([runOf("timed-out")]);
    const result = await submitBatch([runOf("timed-out")], refusedWith("57014"));
    expect(result).toMatchObject([{ is: "refused", code: "capacity", retryAfterSeconds: 1 }]);
    expect(await places("timed-out")).toMatchObject({ queuedOrReserved: 1 });
  });

  test("stays taken while it is unknown whether its run is committed", async () => {
    await submitBatch([runOf("unknown")]);
    const lost = () => Promise.reject(new LostConnection("connection closed"));
    expect(await submitBatch([runOf("unknown")], lost)).toMatchObject([{ code: "database_away" }]);
    expect(await places("unknown")).toMatchObject({ queuedOrReserved: 2 });
  });
});

describe("a name with U+0000", () => {
  const problem = async (method: string, path: string, body?: unknown) => {
    const answer = await app.call(method, path, body === undefined ? {} : { body });
    return [answer.status, (await bodyOf(answer)).code];
  };

  test("in a path names nothing: 404", async () => {
    const paths = ["/tools/%00", "/agents/a%00b", "/orchestrations/%00", "/orchestrations/runs/%00/status"];
    for (const path of paths) expect(await problem("GET", `/api/v2${path}`)).toEqual([404, "not_found"]);
    expect(await problem("POST", "/api/v2/orchestrations/%00/run", {})).toEqual([404, "not_found"]);
    expect(await problem("GET", "/scale/dlq/%00")).toEqual([404, "not_found"]);
  });

  test("in a filter is a 422 that names it", async () => {
    for (const query of ["code=%00", "orchestration_id=a%00", "tenant_id=%00", "cursor=%00"]) {
      expect(await problem("GET", `/scale/dlq?${query}`)).toEqual([422, "invalid"]);
    }
    const retry = { orchestration_id: "\u0000" };
    expect(await problem("POST", "/scale/dlq/retry", retry)).toEqual([422, "invalid"]);
    expect(await problem("POST", "/scale/dlq/retry", { code: "\ud800" })).toEqual([422, "invalid"]);
    expect(await problem("POST", "/api/v2/orchestrations/runs:cancel", retry)).toEqual([422, "invalid"]);
    expect(await problem("POST", "/scale/tenants", { tenant_id: "a", name: "\u0000" })).toEqual([
      422,
      "invalid",
    ]);
  });
});

test("an accept without a reservation removes the record that the counts are valid, until the counts were invalidated in Redis", async () => {
  const steps: string[] = [];
  const [before, without, after] = [runOf("recorded"), runOf("recorded"), runOf("recorded")];
  const runs = [before, without, after];
  const queue = new EdgeQueue(readConfig(app.stores.vars), {
    set: (shard) => void steps.push(`set ${shard}`),
    clear: async (shard) => void steps.push(`cleared ${shard} with ${await committed(runs)} committed`),
  });
  await submitBatch([before], undefined, queue);
  expect(steps).toEqual([]);
  await app.stores.withoutRedis(() => submitBatch([without], undefined, queue).catch(() => {}));
  expect(steps).toEqual(["cleared 0 with 1 committed"]);
  await expect
    .poll(() =>
      queue.admit([], 1).then(
        () => "reached",
        () => "away",
      ),
    )
    .toBe("reached");
  await submitBatch([after], undefined, queue);
  expect(steps).toEqual(["cleared 0 with 1 committed", "set 0"]);
  expect(await app.stores.queue.readIndex(0)).toMatchObject({ quotaReady: false });
  expect(await committed(runs)).toBe(3);
});

// Fails when the record waits for shards that the object does not serve: then it is never written.
test("with several shards, each one is recorded once it was counted anew, and recorded shards are not counted again", async () => {
  await app.stores.redis.flushall();
  const config = readConfig({ ...app.stores.vars, QUEUE_SHARDS: "2" });
  const plain = new Queue(scriptCommands(app.stores.redis), 2);
  for (const shard of [0, 1]) await makeQuotaReady(plain, shard, Date.now() + QUOTA_READY_AFTER_MS);
  const recorded: number[] = [];
  const admitIn = async (counted: ReadonlySet<number>): Promise<void> => {
    const set = (shard: number): void => void recorded.push(shard);
    const queue = new EdgeQueue(config, { set, clear: async () => {} });
    queue.invalidateAllCounts(counted);
    const tenants = ["a", "b", "c", "d"].map((name) => TenantId.parse(name));
    const tenant = tenants.find((name) => queueShardOf(name, 2) === 1);
    if (!tenant) throw new Error("no tenant of shard 1");
    await queue.admit([{ run: newRunId(Date.now()), tenant }], 10);
  };
  const isQuotaReady = async () => (await plain.readIndex(1)).quotaReady;
  await admitIn(new Set([1]));
  expect([await isQuotaReady(), recorded]).toEqual([true, []]);
  await admitIn(new Set());
  expect([await isQuotaReady(), recorded]).toEqual([false, [1]]);
});
