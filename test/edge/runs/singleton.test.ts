import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunAccepted } from "../../../edge/runs/run-view.ts";
import { submitResultOf } from "../../../edge/runs/submit-result.ts";
import { queueOf } from "../../../edge/runs/admit.ts";
import { readConfig } from "../../../edge/env.ts";
import { RunId, TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import { listSuccessors, repairSingletons } from "../../../shared/store/runs/singletons.ts";
import { ParentFence, startChild } from "../../../shared/store/runs/start-child.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { newRun } from "../../services/new-run.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { bodyOf, RUN, runPath, startApp, type TestApp } from "../app.ts";
import { FakeJournalWriter } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

type Policy = "skip" | "queue" | "cancel_previous";
const post = async (singleton_key: string, singleton_policy: Policy, more = {}, headers = {}) => {
  const body = { singleton_key, singleton_policy, ...more };
  const response = await app.call("POST", RUN, { body, headers });
  expect(response.status).toBe(202);
  return { ...RunAccepted.parse(await response.json()), headers: response.headers };
};
const status = async (run: string) => bodyOf(await app.call("GET", runPath(run, "status")));
const openRunsOf = async (key: string) =>
  app.stores.sql`select run_id from runs where singleton_key = ${`key:${key}`} and ended_at is null`;
const isDue = async (run: string) => {
  const [row] = await app.stores.sql`select wake_at <= now() as due from runs where run_id = ${run}`;
  return row?.due;
};

/** Ends a run as its worker does. */
async function end(run: string): Promise<void> {
  const writer = new FakeJournalWriter(app.stores, run);
  await writer.claim();
  await writer.write([{ type: "done" }], { ends: true });
}

describe("runs with one singleton key and the policy skip", () => {
  test("of 50 at once are one run: all answers name it, and 49 say that they were skipped", async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => post("fifty", "skip")));
    expect(new Set(answers.map(({ run_id }) => run_id)).size).toBe(1);
    expect(answers.filter(({ status: outcome, skipped }) => outcome === "skipped" && skipped)).toHaveLength(
      49,
    );
    expect(await openRunsOf("fifty")).toHaveLength(1);
    await app.settled();
    const stats = await app.stores.queue.stats(0);
    expect(stats.reserved).toBe(0);
  });

  test("start again when the run with the key has ended", async () => {
    const first = await post("again", "skip");
    await end(first.run_id);
    const second = await post("again", "skip");
    expect(second).toMatchObject({ status: "queued" });
    expect(second.run_id).not.toBe(first.run_id);
  });

  test("of two tenants do not affect each other", async () => {
    const first = await post("shared", "skip", { tenant_id: "one" });
    const second = await post("shared", "skip", { tenant_id: "two" });
    expect(second.run_id).not.toBe(first.run_id);
    expect(second.skipped).toBeUndefined();
  });

  test("repeat a skipped answer under the same Idempotency-Key, also when the edge died before it recorded the answer", async () => {
    const first = await post("replay", "skip");
    const key = { "idempotency-key": "replay-1" };
    const skipped = await post("replay", "skip", {}, key);
    expect(skipped).toMatchObject({ run_id: first.run_id, skipped: true });
    const replayed = await post("replay", "skip", {}, key);
    expect(replayed).toMatchObject({ run_id: first.run_id, skipped: true });
    expect(replayed.headers.get("idempotent-replayed")).toBe("true");
    await app.stores.sql`
      update idempotency_keys set run_id = 'run_0123456789ab_1780499750067', skipped = false where key = 'replay-1'`;
    expect(await post("replay", "skip", {}, key)).toMatchObject({ run_id: first.run_id, skipped: true });
  });

  // Fails when a key is read, and then freed by another statement: the answer that is recorded in between is passed over, and the
  // request is answered with a run that was never started.
  test("name the run that has the key also when another request under the same Idempotency-Key records its answer meanwhile", async () => {
    const first = await post("meanwhile", "skip");
    const key = { "idempotency-key": "meanwhile-1" };
    await post("meanwhile", "skip", {}, key);
    const { sql, vars } = app.stores;
    const skipped = newRunId(Date.now());
    await sql`update idempotency_keys set run_id = ${skipped}, skipped = false where key = 'meanwhile-1'`;
    const [stored] = await sql`select request_hash from idempotency_keys where key = 'meanwhile-1'`;
    const run = {
      ...newRun({ tenant_id: TenantId.parse("default"), idempotency_key: "meanwhile-1" }),
      request_hash: String(stored?.["request_hash"]),
      singleton: { key: "key:meanwhile", policy: "skip" as const },
    };
    let statements = 0;
    const deps = {
      config: readConfig(vars),
      queue: queueOf(readConfig(vars)),
      query: async <T>(use: (one: Sql) => Promise<T>): Promise<T> => {
        const result = await use(sql);
        if (++statements === 1)
          await sql`
            update idempotency_keys set run_id = ${first.run_id}, skipped = true where key = 'meanwhile-1'`;
        return result;
      },
      resubmit: () => Promise.reject(new Error("the key of a living run is not free")),
    };
    const admission = { is: "admitted" as const, quotaCheckedBy: "queue" as const, reserved: true };
    const outcome = { accepted: new Map(), failed: new Map() };
    const admissions = new Map([[run.run_id, admission]]);
    const result = await submitResultOf(deps, run, { ...outcome, admissions });
    expect(result).toMatchObject({ is: "accepted", run_id: first.run_id, skipped: true });
  });

  // A run that starts nothing needs no place: a client that asks often would get 429 for its own run.
  test("name the run that has the key while the tenant's queue is full; runs that would wait for it are 429", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "packed", max_queued_runs: 1 } });
    const more = { tenant_id: "packed" };
    const answers = await Promise.all(Array.from({ length: 12 }, () => post("packed", "skip", more)));
    const [first] = answers;
    expect(new Set(answers.map(({ run_id }) => run_id))).toEqual(new Set([first?.run_id]));
    expect(answers.filter(({ skipped }) => skipped)).toHaveLength(11);
    for (const body of [
      {},
      { singleton_key: "other" },
      { singleton_key: "packed", singleton_policy: "queue" },
    ]) {
      const response = await app.call("POST", RUN, { body: { ...more, ...body } });
      expect([response.status, (await bodyOf(response)).code]).toEqual([429, "queue_full"]);
    }
  });

  test("repeat under an Idempotency-Key what they answered while the queue was full", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "filled", max_queued_runs: 1 } });
    const more = { tenant_id: "filled" };
    const first = await post("filled", "skip", more);
    const key = { "idempotency-key": "filled-1" };
    expect(await post("filled", "skip", more, key)).toMatchObject({ run_id: first.run_id, skipped: true });
    await end(first.run_id);
    const replayed = await post("filled", "skip", more, key);
    expect(replayed).toMatchObject({ run_id: first.run_id, skipped: true });
    expect(replayed.headers.get("idempotent-replayed")).toBe("true");
    const other = await app.call("POST", RUN, {
      body: { ...more, singleton_key: "filled", message: "other" },
      headers: key,
    });
    expect(other.status).toBe(409);
  });

  test("are 404 for an unknown orchestration, also while the key is taken", async () => {
    await post("unknown", "skip");
    const body = { singleton_key: "unknown" };
    const response = await app.call("POST", "/api/v2/orchestrations/nowhere/run", { body });
    expect(response.status).toBe(404);
  });
});

describe("a run with the policy queue", () => {
  test("waits for the holder of the key, shows it in its status, and is due when the holder has ended; then the next run", async () => {
    const first = await post("line", "queue");
    const [second, third] = [await post("line", "queue"), await post("line", "queue")];
    expect(await status(second.run_id)).toMatchObject({
      status: "queued",
      singleton_key: "line",
      waiting: { reason: "singleton", singleton_key: "line" },
    });
    expect(await bodyOf(await app.call("GET", runPath(second.run_id, "why")))).toMatchObject({
      reason: "singleton",
      blocked_by: [{ kind: "run", run_id: first.run_id }],
      next_wake_at: null,
    });
    await end(first.run_id);
    expect([await isDue(second.run_id), await isDue(third.run_id)]).toEqual([true, false]);
    const successors = await listSuccessors(app.stores.sql, [RunId.parse(first.run_id)]);
    expect(successors.map(({ run_id }) => run_id)).toEqual([second.run_id]);
    await end(second.run_id);
    expect(await isDue(third.run_id)).toBe(true);
  });

  test("keeps its own later start when it gets the key", async () => {
    const first = await post("both", "queue");
    const second = await post("both", "queue", { delay_seconds: 3600 });
    await end(first.run_id);
    expect(await isDue(second.run_id)).toBe(false);
    expect(await status(second.run_id)).toMatchObject({ waiting: { reason: "delay" } });
  });

  test("that is cancelled while it waits leaves the key where it is, and the cancel of the holder enqueues the next", async () => {
    const first = await post("cancel", "queue");
    const [second, third] = [await post("cancel", "queue"), await post("cancel", "queue")];
    await app.call("POST", runPath(second.run_id, "cancel"));
    expect(await isDue(third.run_id)).toBe(false);
    await app.call("POST", runPath(first.run_id, "cancel"));
    await app.settled();
    expect(await isDue(third.run_id)).toBe(true);
    const room = { shard: 0, slots: 1000, lanes: { default: 1000 } };
    const claimed = await app.stores.queue.claim({ ...room, owner: "w", leaseMs: 1, ended: [] });
    expect(claimed.runs.map(({ run }) => String(run))).toContain(third.run_id);
  });

  test("waits for an accept that is not committed yet, and an end sees each run that was accepted before it", async () => {
    const first = await post("race", "queue");
    const second = RunId.parse("run_00000000aaaa_1780499750067");
    const accepted = app.stores.sql.begin(async (sql) => {
      await sql`
        insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, wake_at,
          correlation_id, input, singleton_key, singleton_policy)
        select ${second}, tenant_id, orchestration_id, definition_tenant, definition_version, now(), 'c', input,
          singleton_key, singleton_policy from runs where run_id = ${first.run_id}`;
      ending = end(first.run_id);
      await untilLockWait(app.stores.sql);
    });
    let ending: Promise<void> | undefined;
    await accepted;
    await ending;
    expect(await isDue(second)).toBe(true);
  });

  test("that is retried waits for the key that another run has taken meanwhile", async () => {
    const first = await post("retry", "queue");
    await app.call("POST", runPath(first.run_id, "cancel"));
    const second = await post("retry", "queue");
    expect((await app.call("POST", runPath(first.run_id, "retry"))).status).toBe(202);
    expect(await isDue(first.run_id)).toBe(false);
    await end(second.run_id);
    expect(await isDue(first.run_id)).toBe(true);
  });
});

// Fails when a signal makes any queued run due: two runs with the key would move.
test("a retried run that waits for its key still waits when a child of its earlier life ends", async () => {
  const { sql } = app.stores;
  const first = await post("family", "queue");
  const writer = new FakeJournalWriter(app.stores, first.run_id);
  await writer.claim();
  const [parent] =
    await sql`select run_id, owner, attempt, orchestration_id from runs where run_id = ${first.run_id}`;
  const child = newRunId(Date.now());
  const started = await startChild(sql, ParentFence.parse(parent), {
    run_id: child,
    orchestration_id: parent?.orchestration_id,
    input: JSON.stringify({ message: "go", state: {} }),
    wait_id: "a:1",
    step_path: "a",
    cost_limit_micro_usd: null,
    time_limit_ms: null,
    quota_checked_by: "queue",
  });
  expect(started.is).toBe("started");
  await sql`update runs set status = 'paused', owner = null, paused_at = now(), wake_at = now() + interval '1 day'
    where run_id = ${first.run_id}`;
  await new FakeJournalWriter(app.stores, child).claim();
  await app.call("POST", runPath(first.run_id, "cancel"));
  const second = await post("family", "queue");
  expect((await app.call("POST", runPath(first.run_id, "retry"))).status).toBe(202);
  expect(await isDue(first.run_id)).toBe(false);
  await sql`update runs set status = 'queued', owner = null, wake_at = now() where run_id = ${child}`;
  await app.call("POST", runPath(child, "cancel"));
  expect(await status(child)).toMatchObject({ status: "cancelled" });
  expect([await isDue(first.run_id), await isDue(second.run_id)]).toEqual([false, true]);
  await end(second.run_id);
  expect(await isDue(first.run_id)).toBe(true);
});

describe("a run with the policy cancel_previous", () => {
  test("cancels the runs with the key that were before it, and is due when they have ended", async () => {
    const [first, second] = [await post("newest", "queue"), await post("newest", "queue")];
    const third = await post("newest", "cancel_previous");
    await app.settled();
    expect(await status(first.run_id)).toMatchObject({ status: "cancelled" });
    expect(await status(second.run_id)).toMatchObject({ status: "cancelled" });
    expect(await isDue(third.run_id)).toBe(true);
  });

  test("has the runs before it marked by the reconciler when the edge died after the commit", async () => {
    const first = await post("repair", "queue");
    const second = await post("repair", "queue");
    await app.stores
      .sql`update runs set singleton_policy = 'cancel_previous' where run_id = ${second.run_id}`;
    expect(await repairSingletons(app.stores.sql)).toMatchObject({ superseded: 1 });
    expect(await repairSingletons(app.stores.sql)).toMatchObject({ superseded: 0 });
    const [row] = await app.stores.sql`
      select cancel_requested_at is not null as cancel from runs where run_id = ${first.run_id}`;
    expect(row?.cancel).toBe(true);
  });
});

test("a key without a living holder is handed over by the reconciler, and a living holder keeps it", async () => {
  const first = await post("lost", "queue");
  const second = await post("lost", "queue");
  await app.stores.sql`update singleton_holders set run_id = 'run_0' where run_id = ${first.run_id}`;
  await end(first.run_id);
  await app.stores.sql`update runs set wake_at = waits_for_key() where run_id = ${second.run_id}`;
  await app.stores.sql`update singleton_holders set run_id = 'run_0' where singleton_key = 'key:lost'`;
  expect((await repairSingletons(app.stores.sql)).handedOver).toBe(1);
  expect(await isDue(second.run_id)).toBe(true);
  expect((await repairSingletons(app.stores.sql)).handedOver).toBe(0);
});

// Fails when a key without a row is handed over without a lock that orders the accept.
test("a key that an accept takes while the reconciler hands it over has one holder", async () => {
  const { sql } = app.stores;
  const first = await post("at once", "queue");
  const second = await post("at once", "queue");
  // The holder ended while the waiting run was locked.
  await sql`
    update runs set status = 'completed', ended_at = now(), wake_at = null where run_id = ${first.run_id}`;
  await sql`update runs set wake_at = waits_for_key() where run_id = ${second.run_id}`;
  await sql`delete from singleton_holders where singleton_key = 'key:at once'`;
  let repair: Promise<unknown> | undefined;
  const third = newRunId(Date.now());
  await sql.begin(async (tx) => {
    await tx`
      insert into runs
      select (jsonb_populate_record(r, jsonb_build_object('run_id', ${third}::text, 'wake_at', now()))).*
      from runs r where run_id = ${second.run_id}`;
    repair = repairSingletons(sql);
    await untilLockWait(sql);
  });
  await repair;
  expect([await isDue(second.run_id), await isDue(third)]).toEqual([false, true]);
});

test("singleton_policy without a key, or an unknown one, is refused", async () => {
  for (const body of [{ singleton_policy: "queue" }, { singleton_key: "k", singleton_policy: "later" }]) {
    const problem = await bodyOf(await app.call("POST", RUN, { body }));
    expect(problem).toMatchObject({ status: 422, errors: [{ path: "singleton_policy" }] });
  }
});
