/** Budgets in Postgres: docs/protocol.md 5.10. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { changeLane } from "../../../shared/store/lanes/lane-rows.ts";
import { ageEnd } from "../../services/archive.ts";
import { endUserOf } from "../../../shared/contracts/budget.ts";
import type { BudgetRequest } from "../../../shared/contracts/budget.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { retryRun } from "../../../shared/store/runs/requeue-for-retry.ts";
import type { Usage } from "../../../shared/contracts/journal-entry.ts";
import { readRun } from "../../../shared/store/runs/read-runs.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { deleteBudget, readBudgets, saveBudget } from "../../../shared/store/money/budget-rows.ts";
import { wakeBudgetWaits } from "../../../shared/store/money/budget-waits.ts";
import { releaseReservation, reserveInBudgets } from "../../../shared/store/money/reserve.ts";
import type { Reservation } from "../../../shared/store/money/reserve.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";
import { handBack } from "../../../shared/store/runs/claim-runs.ts";
import { startChild } from "../../../shared/store/runs/start-child.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { acme, globex, onlineBeat, openStore, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`delete from budgets`;
  await store.sql`delete from budget_calls`;
});

type Run = Awaited<ReturnType<Store["startRun"]>>;
let calls = 0;
const newCall = () => `c${++calls}`;

const save = (id: string, limit_usd: number, changes: Partial<BudgetRequest> = {}) =>
  saveBudget(store.sql, acme, id, {
    scope: "tenant",
    period: "month",
    limit_usd,
    at_limit: "fail",
    downgrade_model: null,
    ...changes,
  });
const reserve = (
  run: Run,
  cost: number,
  { call = newCall(), sql = store.sql } = {},
): Promise<Reservation> => {
  const { run_id, attempt, owner } = run;
  return reserveInBudgets(sql, { run_id, attempt, owner, call, wait_id: null, cost });
};
const charge = (cost_micro_usd: number, reserved: string): Usage => ({
  call: reserved,
  provider: "p",
  model: "m",
  input_tokens: 1,
  output_tokens: 1,
  cost_micro_usd,
  reserved,
});
/** Commits a result that charges these calls. */
const commit = (run: Run, usage: Usage[]) => flush(store.sql, [stepEntry(run, { usage })]);
const moneyOf = async (id: string, tenant = acme) => {
  const [budget] = await readBudgets(store.sql, { tenant, limit: 1, id });
  return budget && { spent: budget.spent_usd, reserved: budget.reserved_usd, left: budget.remaining_usd };
};

describe("a budget", () => {
  // Fails when two reservations count the same money: without the lock, or when the count uses the snapshot from before the lock.
  test("of 10 calls lets 10 of 50 concurrent calls through, from 50 runs of two workers", async () => {
    await save("month", 1);
    const workers = [await store.addWorker("a"), await store.addWorker("b")];
    const runs = await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const owner = workers[i % 2] ?? (await store.addWorker());
        return { ...(await store.claim(owner, await store.accept())), owner };
      }),
    );
    const outcomes = await Promise.all(runs.map((run) => reserve(run, 100_000)));
    const count = (outcome: string) => outcomes.filter((reply) => reply.outcome === outcome).length;
    expect([count("reserved"), count("busy")]).toEqual([10, 40]);
    expect(await moneyOf("month")).toEqual({ spent: 0, reserved: 1, left: 0 });
  });

  // Fails when the count is made without the lock, or in a snapshot from before it.
  test("counts a reservation that is not committed yet: the next one waits for its commit", async () => {
    await save("month", 1);
    const [first, second] = [await store.startRun(), await store.startRun()];
    const holder = await store.sql.reserve();
    await holder`begin`;
    const { run_id, attempt, owner } = first;
    const call = { run_id, attempt, owner, call: newCall(), wait_id: null, cost: 950_000 };
    expect(await reserveInBudgets(holder, call)).toEqual({ outcome: "reserved" });
    const waiting = reserve(second, 100_000);
    await expect.poll(() => store.countLockWaits()).toBe(1);
    await holder`commit`;
    holder.release();
    expect(await waiting).toEqual({ outcome: "busy" });
  });

  test("counts the real cost of a call from the commit that charges it, and gives the rest back", async () => {
    await save("month", 1);
    const run = await store.startRun();
    expect(await reserve(run, 900_000, { call: "one" })).toEqual({ outcome: "reserved" });
    expect(await reserve(run, 900_000)).toEqual({ outcome: "busy" });
    await commit(run, [charge(200_000, "one")]);
    expect(await moneyOf("month")).toEqual({ spent: 0.2, reserved: 0, left: 0.8 });
    expect(await reserve(run, 800_000, { call: "two" })).toEqual({ outcome: "reserved" });
    expect(await moneyOf("month")).toEqual({ spent: 0.2, reserved: 0.8, left: 0 });
  });

  // Fails when a fenced worker's charge counts.
  test("counts no charge of an entry that is not committed", async () => {
    await save("month", 1);
    const run = await store.startRun();
    await reserve(run, 900_000, { call: "one" });
    expect(await commit({ ...run, event_seq: 7 }, [charge(200_000, "one")])).toEqual([]);
    expect(await moneyOf("month")).toEqual({ spent: 0, reserved: 0.9, left: 0.1 });
  });

  // Fails when a reservation whose reply was lost is made twice.
  test("reserves a repeated call once", async () => {
    await save("month", 1);
    const run = await store.startRun();
    for (let i = 0; i < 3; i++)
      expect(await reserve(run, 600_000, { call: "same" })).toMatchObject({ outcome: "reserved" });
    expect(await moneyOf("month")).toMatchObject({ reserved: 0.6 });
  });

  // Fails when the reservations of a dead worker are never released.
  test("gets back what a dead worker has reserved, once another claim moves its run; what it charged stays", async () => {
    await save("month", 1);
    const run = await store.startRun();
    await reserve(run, 500_000, { call: "charged" });
    await commit(run, [charge(300_000, "charged")]);
    await reserve(run, 700_000, { call: "lost" });
    expect(await moneyOf("month")).toEqual({ spent: 0.3, reserved: 0.7, left: 0 });
    await store.sql`delete from workers where incarnation = ${run.owner}`;
    const owner = await store.addWorker();
    const secondClaim = { ...(await store.claim(owner, run.run_id)), owner };
    expect(await moneyOf("month")).toEqual({ spent: 0.3, reserved: 0, left: 0.7 });
    expect(await reserve(run, 100_000)).toEqual({ outcome: "fenced" });
    expect(await reserve(secondClaim, 700_000)).toMatchObject({ outcome: "reserved" });
  });

  test("gets back what a run that was handed back has reserved", async () => {
    await save("month", 1);
    const run = await store.startRun();
    await reserve(run, 700_000);
    await handBack(store.sql, run.owner, [run]);
    expect(await moneyOf("month")).toEqual({ spent: 0, reserved: 0, left: 1 });
  });

  test("gets back a reservation whose call used nothing, but not a reservation that is charged", async () => {
    await save("month", 1);
    const run = await store.startRun();
    await reserve(run, 400_000, { call: "nothing" });
    await reserve(run, 400_000, { call: "paid" });
    await commit(run, [charge(100_000, "paid")]);
    for (const call of ["nothing", "paid"]) await releaseReservation(store.sql, { run_id: run.run_id, call });
    expect(await moneyOf("month")).toEqual({ spent: 0.1, reserved: 0, left: 0.9 });
  });

  test("refuses a call that does not fit, whatever others cost, and says what is spent", async () => {
    await save("month", 1);
    const run = await store.startRun();
    await reserve(run, 900_000, { call: "one" });
    await commit(run, [charge(950_000, "one")]);
    expect(await reserve(run, 100_000)).toMatchObject({
      outcome: "refused",
      budget_id: "month",
      at_limit: "fail",
      spent_micro_usd: 950_000,
      limit_micro_usd: 1_000_000,
    });
    expect(await moneyOf("month")).toMatchObject({ reserved: 0 });
  });

  test("of another tenant, orchestration or user does not apply; all that apply are reserved at once", async () => {
    await save("orch", 1, { scope: "orchestration:orch" });
    await save("other", 1, { scope: "orchestration:other" });
    await save("ada", 0.5, { scope: "user:ada" });
    await save("bob", 1, { scope: "user:bob" });
    await saveBudget(store.sql, globex, "globex", {
      scope: "tenant",
      period: "day",
      limit_usd: 0,
      at_limit: "fail",
      downgrade_model: null,
    });
    const run = await store.startRun({ end_user: "ada" });
    expect(await reserve(run, 500_000)).toEqual({ outcome: "reserved" });
    expect(await moneyOf("orch")).toMatchObject({ reserved: 0.5 });
    expect(await moneyOf("ada")).toMatchObject({ reserved: 0.5 });
    expect([await moneyOf("other"), await moneyOf("bob"), await moneyOf("globex", globex)]).toMatchObject([
      { reserved: 0 },
      { reserved: 0 },
      { reserved: 0 },
    ]);
    // What one budget refuses is reserved in none.
    expect(await reserve(run, 100_000)).toEqual({ outcome: "busy" });
    expect(await moneyOf("orch")).toMatchObject({ reserved: 0.5 });
  });

  // Fails when a child loses its parent's end user, or when the parent's charge for its child counts once more.
  test("counts a child's calls for the end user of its parent, and once", async () => {
    await save("ada", 1, { scope: "user:ada" });
    const parent = await store.startRun({ end_user: "ada" });
    const id = newRunId(Date.now());
    await startChild(store.sql, parent, {
      run_id: id,
      orchestration_id: "orch",
      input: '{"message":"go","state":{}}',
      wait_id: "a:1",
      step_path: "a",
      cost_limit_micro_usd: null,
      time_limit_ms: null,
      quota_checked_by: "queue",
    });
    const owner = await store.addWorker();
    const child = { ...(await store.claim(owner, id)), owner };
    expect(child.has_budget).toBe(true);
    await reserve(child, 400_000, { call: "paid" });
    await commit(child, [charge(300_000, "paid")]);
    const { reserved: _none, ...childUsage } = charge(300_000, "child");
    await commit(parent, [{ ...childUsage, provider: "child_run", model: id }]);
    expect(await moneyOf("ada")).toEqual({ spent: 0.3, reserved: 0, left: 0.7 });
  });

  // Fails when a run's claim or the worker's next beat does not say that a budget applies.
  test("is known to the worker with the claim, and for a running run with the next beat", async () => {
    const run = await store.startRun();
    expect(run.has_budget).toBe(false);
    expect(await reserve(run, 1)).toEqual({ outcome: "free" });
    await save("orch", 1, { scope: "orchestration:orch" });
    const { owned } = await beat(store.sql, onlineBeat(run.owner));
    expect(owned).toMatchObject([{ run_id: run.run_id, has_budget: true }]);
    expect((await store.startRun()).has_budget).toBe(true);
    await deleteBudget(store.sql, acme, "orch");
    expect((await beat(store.sql, onlineBeat(run.owner))).owned).toMatchObject([{ has_budget: false }]);
  });

  test("begins at 0 in its next period; a call of the last period is not charged to it", async () => {
    await save("day", 1, { period: "day" });
    const run = await store.startRun();
    await reserve(run, 400_000, { call: "spent" });
    await commit(run, [charge(400_000, "spent")]);
    await reserve(run, 500_000, { call: "open" });
    await store.sql`update budgets set period_start = period_start - interval '1 day'`;
    await store.sql`update budget_calls set period_start = period_start - interval '1 day'`;
    expect(await moneyOf("day")).toEqual({ spent: 0, reserved: 0, left: 1 });
    expect(await reserve(run, 1_000_000)).toMatchObject({ outcome: "reserved" });
  });

  test("keeps what is spent when its limit changes, and begins at 0 with another scope", async () => {
    await save("month", 1);
    const run = await store.startRun();
    await reserve(run, 400_000, { call: "kept" });
    await commit(run, [charge(400_000, "kept")]);
    await reserve(run, 1);
    expect(await save("month", 3)).toMatchObject({ spent_usd: 0.4, limit_usd: 3 });
    expect(await save("month", 3, { scope: "user:ada" })).toMatchObject({ spent_usd: 0 });
  });

  // Fails when calls of the scope before, which no reservation has added up yet, count for the new one.
  test.each([{ scope: "tenant" }, { scope: "user:*" }])(
    "that gets another scope than $scope counts neither the charges nor the reservations of its scope before",
    async (before) => {
      await save("limit", 1, before);
      const run = await store.startRun({ end_user: "ada" });
      await reserve(run, 400_000, { call: "paid" });
      await commit(run, [charge(400_000, "paid")]);
      await reserve(run, 100_000, { call: "open" });
      await save("limit", 1, { scope: "user:ben" });
      expect(await moneyOf("limit")).toEqual({ spent: 0, reserved: 0, left: 1 });
      await commit({ ...run, event_seq: run.event_seq + 2 }, [charge(100_000, "open")]);
      await save("limit", 1, before);
      expect(await reserve(run, 1_000_000)).toEqual({ outcome: "reserved" });
    },
  );

  // Fails when a charge that no reservation has added up yet goes with its run.
  test("keeps what a run has spent when retention deletes the run", async () => {
    await save("month", 1);
    const run = await store.startRun();
    await reserve(run, 400_000, { call: "paid" });
    await reserve(run, 100_000, { call: "open" });
    const usage = [charge(400_000, "paid")];
    await flush(store.sql, [stepEntry(run, { kind: "end", status: "completed", output: "{}", usage })]);
    await ageEnd(store.sql, run.run_id, 2);
    await changeLane(store.sql, "default", { keep_completed_seconds: 3_600 });
    await deleteExpired(store.sql);
    expect(await readRun(store.sql, acme, run.run_id)).toBeNull();
    expect(await moneyOf("month")).toEqual({ spent: 0.4, reserved: 0, left: 0.6 });
    expect(await reserve(await store.startRun(), 700_000)).toMatchObject({ outcome: "refused" });
  });
});

describe("a run that waits for a budget", () => {
  /** Parks a run as its worker does after the refusal. */
  async function park(run: Run, version: number): Promise<void> {
    const wait = {
      wait_id: `a:1:budget:${run.event_seq}`,
      step_id: "a",
      kind: "budget" as const,
      prompt: "no room",
      fields: JSON.stringify({ budget_id: "month", version }),
      deadline_ms: null,
      child_run_id: null,
    };
    const parked = { kind: "park" as const, status: "paused" as const, wake_ms: 3_600_000, waits: [wait] };
    const committed = await flush(store.sql, [
      stepEntry(run, { ...parked, signals: run.signals, output: "{}" }),
    ]);
    expect(committed).toHaveLength(1);
  }
  const openWaits = async (run: Run) =>
    (await store.sql`select 1 from waits where run_id = ${run.run_id} and answered_at is null`).length;

  test("stays while the budget does, and is woken by a change of it, once", async () => {
    await save("month", 0);
    const run = await store.startRun();
    const refused = await reserve(run, 1);
    expect(refused).toMatchObject({ outcome: "refused", version: 1 });
    await park(run, 1);
    expect(await wakeBudgetWaits(store.sql)).toEqual([]);
    await save("month", 1);
    expect(await wakeBudgetWaits(store.sql)).toMatchObject([{ run_id: run.run_id, status: "queued" }]);
    expect(await store.row(run.run_id)).toMatchObject({ status: "queued", signals: 1 });
    expect(await openWaits(run)).toBe(0);
    expect(await wakeBudgetWaits(store.sql)).toEqual([]);
  });

  // Fails when a raise between the refusal and the park is missed, by times or because the edge has looked already.
  test("is woken also when the budget was raised before it parked", async () => {
    await save("month", 0);
    const run = await store.startRun();
    await reserve(run, 1);
    await save("month", 1);
    expect(await wakeBudgetWaits(store.sql)).toEqual([]);
    await park(run, 1);
    expect(await wakeBudgetWaits(store.sql)).toMatchObject([{ run_id: run.run_id }]);
  });

  test("is woken when the budget is deleted", async () => {
    await save("month", 0);
    const run = await store.startRun();
    await park(run, 1);
    await deleteBudget(store.sql, acme, "month");
    expect(await wakeBudgetWaits(store.sql)).toMatchObject([{ run_id: run.run_id }]);
  });

  // Fails when the wait stays open, so that the run would be woken again and shown as waiting.
  test("closes its wait with its next reservation", async () => {
    await save("month", 0);
    const run = await store.startRun();
    await park(run, 1);
    await store.sql`update runs set wake_at = now() where run_id = ${run.run_id}`;
    const secondClaim = { ...(await store.claim(run.owner, run.run_id)), owner: run.owner };
    const { run_id, attempt, owner } = secondClaim;
    const wait_id = `a:1:budget:${run.event_seq}`;
    const call = { run_id, attempt, owner, call: newCall(), wait_id, cost: 1 };
    expect(await reserveInBudgets(store.sql, call)).toMatchObject({ outcome: "refused" });
    expect(await openWaits(run)).toBe(0);
  });
});

// Fails when only the flush of a new worker marks the run: a worker of an earlier version inserts the row alone.
test("a run says that its usage is estimated from the first estimated call on, and not before", async () => {
  const run = await store.startRun();
  const other = await store.startRun();
  const call = { provider: "demo", model: "demo/fast", input_tokens: 1, output_tokens: 1, cost_micro_usd: 1 };
  const isEstimated = async () => (await readRun(store.sql, null, run.run_id))?.usage_estimated;

  await flush(store.sql, [stepEntry(run, { usage: [{ ...call, call: "a" }] })]);
  expect(await isEstimated()).toBe(false);

  const estimated = { ...call, call: "b", estimated: true as const };
  await flush(store.sql, [stepEntry(run, { known_seq: 2, usage: [estimated] }), stepEntry(other)]);
  expect(await isEstimated()).toBe(true);
  expect((await readRun(store.sql, null, other.run_id))?.usage_estimated).toBe(false);

  const [end] = await flush(store.sql, [stepEntry(run, { known_seq: 4, kind: "end", status: "completed" })]);
  expect(end?.event_seq).toBe(6);
});

test("usage rows say what is wasted and what is estimated", async () => {
  const run = await store.startRun();
  const usage = { provider: "p", model: "m", input_tokens: 1, output_tokens: 1, cost_micro_usd: 5 };
  await commit(run, [
    { call: "a", ...usage },
    { call: "b", ...usage, wasted: true, estimated: true },
  ]);
  const rows = await store.sql`
    select call, kind, estimated from usage where run_id = ${run.run_id} order by call`;
  expect([...rows]).toEqual([
    { call: "a", kind: "charged", estimated: false },
    { call: "b", kind: "wasted", estimated: true },
  ]);
  expect(await store.row(run.run_id)).toMatchObject({ cost_micro_usd: "10" });
});

/** 20 runs of two workers, with the same end user. */
async function twentyRuns(end_user: string) {
  const workers = [await store.addWorker("a"), await store.addWorker("b")];
  return Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const owner = workers[i % 2] ?? (await store.addWorker());
      return { ...(await store.claim(owner, await store.accept({ end_user }))), owner };
    }),
  );
}

// Fails when a scope is not counted, or when its limit has another outcome than it says.
describe.each(["tenant", "orchestration:orch", "user:ada", "user:*"])("a budget of the scope %s", (scope) => {
  const atLimits = [
    { at_limit: "fail", downgrade_model: null },
    { at_limit: "pause", downgrade_model: null },
    { at_limit: "downgrade", downgrade_model: "demo/fast" },
  ] as const;
  test.each(atLimits)(
    "is never exceeded by calls at the same time, and then refuses calls with $at_limit",
    async (atLimit) => {
      await save("limit", 1, { scope, ...atLimit });
      const runs = await twentyRuns("ada");
      expect(new Set(runs.map((run) => run.has_budget))).toEqual(new Set([true]));
      const replies = await Promise.all(runs.map((run, i) => reserve(run, 100_000, { call: `call${i}` })));
      const admitted = replies.flatMap(({ outcome }, i) => (outcome === "reserved" ? [i] : []));
      expect(admitted).toHaveLength(10);
      expect(replies.filter(({ outcome }) => outcome === "busy")).toHaveLength(10);
      for (const i of admitted) {
        const run = runs[i];
        if (run) await commit(run, [charge(100_000, `call${i}`)]);
      }
      const refusals = await Promise.all(runs.map((run) => reserve(run, 100_000)));
      for (const reply of refusals) {
        expect(reply).toMatchObject({ outcome: "refused", ...atLimit, spent_micro_usd: 1_000_000 });
      }
      const id = scope === "user:*" ? "limit:ada" : "limit";
      expect(await moneyOf(id)).toEqual({ spent: 1, reserved: 0, left: 0 });
    },
  );
});

describe("a budget of each end user", () => {
  const everyUser = { scope: "user:*" };

  // Fails when one end user spends the money of another one.
  test("gives each of them the whole limit, and is listed with those of them who have made a call", async () => {
    await save("each", 1, everyUser);
    const [ada, ben] = [await store.startRun({ end_user: "ada" }), await store.startRun({ end_user: "ben" })];
    expect(await reserve(ada, 900_000)).toEqual({ outcome: "reserved" });
    expect(await reserve(ada, 900_000)).toEqual({ outcome: "busy" });
    expect(await reserve(ben, 900_000)).toEqual({ outcome: "reserved" });
    const list = await readBudgets(store.sql, { tenant: acme, limit: 10 });
    expect(
      list.map(({ id, scope, template_id, reserved_usd }) => [id, scope, template_id, reserved_usd]),
    ).toEqual([
      ["each", "user:*", null, 0],
      ["each:ada", "user:ada", "each", 0.9],
      ["each:ben", "user:ben", "each", 0.9],
    ]);
  });

  test("does not apply to a run without an end user, and `*` is no end user", async () => {
    await save("each", 1, everyUser);
    const run = await store.startRun();
    expect(run.has_budget).toBe(false);
    expect(await reserve(run, 2_000_000)).toEqual({ outcome: "free" });
    expect(endUserOf({ user: "*" })).toBeNull();
  });

  // Fails when a raise of the template does not reach the budgets that were made from it.
  test("acts at once when it is changed, and ends with the template or its scope", async () => {
    await save("each", 1, everyUser);
    const run = await store.startRun({ end_user: "ada" });
    await reserve(run, 400_000, { call: "paid" });
    await commit(run, [charge(400_000, "paid")]);
    expect(await reserve(run, 700_000)).toMatchObject({
      outcome: "refused",
      budget_id: "each:ada",
      version: 1,
    });
    await save("each", 2, everyUser);
    expect(await moneyOf("each:ada")).toMatchObject({ spent: 0.4, left: 1.6 });
    expect(await reserve(run, 700_000)).toEqual({ outcome: "reserved" });
    await save("each", 2, { scope: "tenant" });
    expect(await moneyOf("each:ada")).toBeUndefined();
    await save("each", 2, everyUser);
    await reserve(run, 1);
    await deleteBudget(store.sql, acme, "each");
    expect(await moneyOf("each:ada")).toBeUndefined();
    expect(await reserve(run, 5_000_000)).toEqual({ outcome: "free" });
  });

  // Fails when only its template's deletion deletes it: a call that is reserved at that moment makes it from the template that it still sees.
  test("that a call makes while its template is deleted is deleted by retention, and its run goes on", async () => {
    const { sql } = store;
    await save("each", 1, { ...everyUser, period: "total" });
    const run = await store.startRun({ end_user: "ada" });
    const making = await sql.reserve();
    await making`begin`;
    await reserve(run, 900_000, { sql: making });
    await deleteBudget(sql, acme, "each");
    await making`commit`;
    making.release();
    const refused = await reserve(run, 2_000_000);
    expect(refused).toMatchObject({ outcome: "refused", budget_id: "each:ada" });
    await deleteExpired(sql);
    expect(await moneyOf("each:ada")).toBeUndefined();
    expect(await reserve(run, 2_000_000)).toEqual({ outcome: "free" });
  });

  test("of a past period is deleted by retention, and one of this period is not", async () => {
    await save("each", 1, everyUser);
    const startRunOf = (end_user: string) => store.startRun({ end_user });
    for (const run of [await startRunOf("ada"), await startRunOf("ben")]) {
      await reserve(run, 1, { call: "c" });
      await commit(run, [charge(1, "c")]);
    }
    await store.sql`update budgets set period_start = period_start - interval '40 days' where budget_id = 'each:ada'`;
    await store.sql`update budget_calls set period_start = period_start - interval '40 days' where budget_id = 'each:ada'`;
    await deleteExpired(store.sql);
    await deleteExpired(store.sql);
    const list = await readBudgets(store.sql, { tenant: acme, limit: 10 });
    expect(list.map(({ id }) => id)).toEqual(["each", "each:ben"]);
  });
});

describe("the limit of a run that has started others", () => {
  const child = (cost_limit_micro_usd: number | null, wait_id: string) => ({
    run_id: newRunId(Date.now()),
    orchestration_id: "orch",
    input: '{"message":"go","state":{}}',
    wait_id,
    step_path: "a",
    cost_limit_micro_usd,
    time_limit_ms: null,
    quota_checked_by: "queue" as const,
  });
  /** A run with these many children, all of them under way, each with a worker of its own. */
  async function family(parent: Run, limit: number | null, count: number): Promise<Run[]> {
    const children = Array.from({ length: count }, (_, i) => child(limit, `a:${parent.run_id}:${i}`));
    for (const each of children) await startChild(store.sql, parent, each);
    return Promise.all(
      children.map(async ({ run_id }) => {
        const owner = await store.addWorker();
        return { ...(await store.claim(owner, run_id)), owner };
      }),
    );
  }

  // Fails when each child may spend all that is left of the parent's limit.
  test("holds for five children at once: their calls together never reserve more than it", async () => {
    const parent = await store.startRun();
    const children = await family(parent, 1_000_000, 5);
    expect(new Set(children.map(({ has_budget }) => has_budget))).toEqual(new Set([true]));
    const replies = await Promise.all(children.map((run, i) => reserve(run, 400_000, { call: `call${i}` })));
    const admitted = replies.flatMap(({ outcome }, i) => (outcome === "reserved" ? [i] : []));
    expect(admitted).toHaveLength(2);
    // The parent's own calls count beside them.
    expect(await reserve(parent, 400_000)).toEqual({ outcome: "busy" });
    for (const i of admitted) {
      const run = children[i];
      if (run) await commit(run, [charge(500_000, `call${i}`)]);
    }
    const refusals = await Promise.all([...children, parent].map((run) => reserve(run, 400_000)));
    for (const reply of refusals) expect(reply).toMatchObject({ outcome: "refused", at_limit: "fail" });
  });

  test("lets a call that is alone begin while anything is left, as in a run without children", async () => {
    const [first, second] = await family(await store.startRun(), 1_000_000, 2);
    if (!first || !second) throw new Error("no children");
    expect(await reserve(first, 3_000_000, { call: "large" })).toEqual({ outcome: "reserved" });
    expect(await reserve(second, 1)).toEqual({ outcome: "busy" });
    await commit(first, [charge(999_999, "large")]);
    expect(await reserve(second, 3_000_000)).toEqual({ outcome: "reserved" });
  });

  // Fails when only the parent, and not the runs above it, counts a call.
  test("holds for the runs below its children", async () => {
    const parent = await store.startRun();
    const [first, second] = await family(parent, 1_000_000, 2);
    if (!first || !second) throw new Error("no children");
    const [grandchild] = await family(first, 1_000_000, 1);
    if (!grandchild) throw new Error("no grandchild");
    expect(await reserve(grandchild, 900_000)).toEqual({ outcome: "reserved" });
    expect(await reserve(second, 200_000)).toEqual({ outcome: "busy" });
  });

  test("is listed as no budget, and begins anew with a retry of the run", async () => {
    const parent = await store.startRun();
    const [run] = await family(parent, 1_000_000, 1);
    if (!run) throw new Error("no child");
    await reserve(run, 1, { call: "c" });
    expect(await readBudgets(store.sql, { tenant: acme, limit: 10 })).toEqual([]);
    const { run_id } = parent;
    await store.sql`update runs set status = 'failed', owner = null, ended_at = now(), wake_at = null where run_id = ${run_id}`;
    const known_seq = (await store.row(run_id)).event_seq;
    await retryRun(store.sql, { run_id, tenant_id: acme, known_seq, output: "{}", event: "{}" });
    expect(await store.sql`select from budgets`).toHaveLength(0);
    expect(await store.sql`select from budget_calls`).toHaveLength(0);
  });
});
