import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { flush } from "../../../shared/store/journal/flush.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { countRuns } from "../../../shared/store/metrics/count-runs.ts";
import { foldCounters, readCounters, saveCounters } from "../../../shared/store/metrics/counters.ts";
import { Counters } from "../../../worker-node/ops/counters.ts";
import { endEntry } from "./family-fixture.ts";
import { globex, openStore, saveEmptyOrchestration } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`truncate runs, metric_counters`;
  await store.sql`update metric_positions set counted_to = now()`;
});

/** The values of a series by its labels. */
async function values(series: string): Promise<Record<string, number>> {
  const counters = await readCounters(store.sql);
  return Object.fromEntries(
    counters
      .filter((counter) => counter.series === series)
      .map(({ labels, value }) => [Object.values(labels).toSorted().join(" "), value]),
  );
}
const countNow = () => countRuns(store.sql, 0);

describe("runs", () => {
  test("are counted once each when they are queued and when they end, by tenant", async () => {
    const ended = await store.startRun();
    await store.startRun();
    await store.accept({ tenant_id: globex });
    await flush(store.sql, [endEntry(ended)]);
    await countNow();
    await countNow();
    expect(await values("synapse_runs_enqueued_total")).toEqual({ "acme orch": 2, "globex orch": 1 });
    expect(await values("synapse_runs_completed_total")).toEqual({ "acme completed": 1 });
  });

  test("are counted once each by two workers that count at the same time", async () => {
    for (let i = 0; i < 3; i++) await store.accept();
    let counting: Promise<unknown> = Promise.resolve();
    await store.sql.begin(async (holder) => {
      await holder`select from metric_positions for update`;
      counting = Promise.all([countNow(), countNow()]);
      await expect.poll(() => store.countLockWaits()).toBe(2);
    });
    await counting;
    expect(await values("synapse_runs_enqueued_total")).toEqual({ "acme orch": 3 });
  });

  test("of a statement that has not committed yet are counted later: the position stays behind", async () => {
    await store.accept();
    expect(await countRuns(store.sql)).toBe(false);
    expect(await readCounters(store.sql)).toEqual([]);
    await store.sql`update metric_positions set counted_to = now() - interval '1 minute'`;
    await store.sql`update runs set queued_at = now() - interval '20 seconds'`;
    await countRuns(store.sql);
    expect(await values("synapse_runs_enqueued_total")).toEqual({ "acme orch": 1 });
  });

  test("of a long silence are counted in several calls", async () => {
    await store.accept();
    await store.sql`update metric_positions set counted_to = now() - interval '25 minutes'`;
    expect([await countNow(), await countNow(), await countNow()]).toEqual([true, true, false]);
    expect(await values("synapse_runs_enqueued_total")).toEqual({ "acme orch": 1 });
  });

  test("have their durations in every bucket that they fit in", async () => {
    const run = await store.startRun();
    await store.sql`update runs set queued_at = now() - interval '7 s', started_at = now() - interval '6 s'`;
    await flush(store.sql, [endEntry(run)]);
    const queued = await store.accept();
    await store.sql`
      update runs set status = 'cancelled', ended_at = now(), wake_at = null where run_id = ${queued}`;
    await countNow();
    const buckets = await values("synapse_run_duration_seconds_bucket");
    expect(buckets).toMatchObject({ "1 acme": 0, "5 acme": 0, "15 acme": 1, "3600 acme": 1, "+Inf acme": 1 });
    expect((await values("synapse_run_duration_seconds_sum")).acme).toBeCloseTo(6, 0);
    expect(await values("synapse_run_queue_seconds_bucket")).toMatchObject({ "0.5 acme": 0, "1 acme": 1 });
    expect(await values("synapse_runs_completed_total")).toEqual({
      "acme cancelled": 1,
      "acme completed": 1,
    });
  });
});

describe("what workers count", () => {
  test("is added up, a repeated or late report counts nothing twice, and a worker that is gone stays counted", async () => {
    const [workerA, workerB] = [await store.addWorker("one"), await store.addWorker("two")];
    const counters = new Counters();
    counters.observe("synapse_step_duration_seconds", { step_type: "llm" }, 0.3);
    const early = structuredClone(counters.list());
    counters.observe("synapse_step_duration_seconds", { step_type: "llm" }, 40);
    await saveCounters(store.sql, workerA, counters.list());
    await saveCounters(store.sql, workerA, early);
    await saveCounters(store.sql, workerB, early);
    const expected = { "0.1 llm": 0, "0.5 llm": 2, "30 llm": 2, "60 llm": 3, "+Inf llm": 3 };
    expect(await values("synapse_step_duration_seconds_bucket")).toMatchObject(expected);

    await store.sql`update workers set beat_at = now() - interval '2 days' where incarnation = ${workerA}`;
    await deleteExpired(store.sql);
    await deleteExpired(store.sql);
    expect(await values("synapse_step_duration_seconds_bucket")).toMatchObject(expected);
    const [{ sources } = {}] =
      await store.sql`select count(distinct source)::int as sources from metric_counters`;
    expect(sources).toBe(2);
  });

  test("has printable labels, whatever a definition named its model", async () => {
    const counters = new Counters();
    counters.add("synapse_model_cost_usd_total", { provider: "openai", model: "a\u0000\ud800é" }, 0.5);
    counters.add("synapse_model_cost_usd_total", { provider: "openai", model: "a?é?" }, 0.25);
    await saveCounters(store.sql, await store.addWorker(), counters.list());
    expect(await values("synapse_model_cost_usd_total")).toEqual({ "a??? openai": 0.75 });
  });
});

describe("a fleet of 2,500 tenants", () => {
  beforeEach(async () => {
    await store.sql`
      insert into metric_counters (source, series, labels, value, first_at)
      select '', 'synapse_run_queue_seconds_bucket', jsonb_build_object('tenant_id', 't' || n, 'le', le), n % 2 + 1,
        now() + n * interval '1 ms'
      from generate_series(1, 2500) n, unnest('{0.01,0.05,0.1,0.5,1,5,30,120,600,3600,+Inf}'::text[]) le`;
    await store.sql`
      insert into metric_counters (source, series, labels, value) values ('', 'synapse_webhook_deliveries_total', '{"outcome": "delivered"}', 7)`;
  });

  // Fails when a read ends after a number of rows: then the series whose names come last are missing.
  test("has each series, and the first thousand tenants of each; the others are added up, by bucket", async () => {
    expect(await values("synapse_webhook_deliveries_total")).toEqual({ delivered: 7 });
    const buckets = await values("synapse_run_queue_seconds_bucket");
    expect(Object.keys(buckets)).toHaveLength(1_001 * 11);
    expect(buckets["0.5 t1000"]).toBe(1);
    expect(buckets["0.5 t999"]).toBe(2);
    expect(buckets["0.5 t1001"]).toBeUndefined();
    expect(buckets["+Inf other"]).toBe(1_500 * 1.5);
  });

  test("shows the same tenants after more have come", async () => {
    const before = await values("synapse_run_queue_seconds_bucket");
    await store.sql`
      insert into metric_counters (source, series, labels, value) values ('', 'synapse_run_queue_seconds_bucket', '{"tenant_id": "a", "le": "1"}', 1)`;
    await store.sql`update metric_counters set first_at = now() + interval '1 hour' where labels->>'tenant_id' = 'a'`;
    expect(await values("synapse_run_queue_seconds_bucket")).toEqual({
      ...before,
      "1 other": (before["1 other"] ?? 0) + 1,
    });
  });

  // Fails when the sum of the others is a row of its own: Prometheus refuses the second sample with the same labels.
  test("has one sample for the tenants beyond the first thousand and one with the name other", async () => {
    const before = await values("synapse_run_queue_seconds_bucket");
    await store.sql`
      insert into metric_counters (source, series, labels, value, first_at)
      values ('', 'synapse_run_queue_seconds_bucket', '{"tenant_id": "other", "le": "1"}', 5, now() - interval '1 hour')`;
    const others = (await readCounters(store.sql)).filter(
      ({ labels }) => labels["tenant_id"] === "other" && labels["le"] === "1",
    );
    // One of the tenants that were shown is one of the others now.
    expect(others.map(({ value }) => value)).toEqual([(before["1 other"] ?? 0) + 5 + 1]);
  });
});

// Fails when the common sum keeps the time of the worker that went first: labels would move behind those that came later.
test("labels keep their place when the worker that saw them first is the last to go", async () => {
  const long = await store.addWorker("long");
  await store.sql`
    insert into metric_counters (source, series, labels, value, first_at)
    select s.source, 'synapse_repairs_total', jsonb_build_object('kind', s.kind), 1, now() - s.hours * interval '1 hour'
    from (values (${long}, 'a', 3), ('gone', 'a', 1), ('', 'b', 2)) s(source, kind, hours)`;
  const kinds = async () => (await readCounters(store.sql)).map(({ labels }) => labels["kind"]);
  await foldCounters(store.sql);
  expect(await kinds()).toEqual(["a", "b"]);
  await store.sql`delete from workers where incarnation = ${long}`;
  await foldCounters(store.sql);
  expect(await kinds()).toEqual(["a", "b"]);
});
