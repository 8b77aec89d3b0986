import { afterEach, beforeEach, expect, test } from "vitest";
import type { RunId } from "../../shared/contracts/ids.ts";
import { pace, until } from "../services/waiting.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import { startFleet } from "./fleet.ts";
import type { Fleet } from "./fleet.ts";
import { fourTexts, STEPS } from "./four-texts.ts";
import { LEASE_MS } from "../services/timing/long.ts";

const WORKERS = 3;
/** Shorter than a run, so that each worker still executes runs at the end of its drain. */
const DRAIN_SECONDS = 1;
const EVERY_MS = 150;
/** The runs that each worker executes when it is stopped: more than can end during its drain. */
const UNDER_WAY = 5;

let fleet: Fleet;

beforeEach(async () => {
  fleet = await startFleet("long");
  await fleet.define(fourTexts);
});
afterEach(() => fleet.close());

/** Starts a run every EVERY_MS. @returns a function that ends this and returns all runs */
function load(): () => Promise<RunId[]> {
  const stop = new AbortController();
  const begin = async (): Promise<RunId[]> => {
    const runs: RunId[] = [];
    for (; !stop.signal.aborted && runs.length < 500; await pace(EVERY_MS)) {
      runs.push(await fleet.run("orch_long"));
    }
    return runs;
  };
  const runs = begin();
  return () => {
    stop.abort();
    return runs;
  };
}

const runsLogged = ({ lines }: WorkerProcess, name: string) =>
  lines.flatMap(({ event, run }) => (event === name ? [run] : []));

/** For each run that a drain handed back: the milliseconds from the end of the grace until another worker claimed it. */
function handovers(): number[] {
  const at = ({ at: time }: { [field: string]: unknown }) => Date.parse(String(time));
  const claims = fleet.workers.flatMap(({ id, lines }) =>
    lines.filter(({ event }) => event === "run.claimed").map((line) => ({ id, line })),
  );
  return fleet.workers.flatMap(({ id, lines }) => {
    const drained = lines.find(({ event }) => event === "worker.drain_started");
    if (!drained) return [];
    const back = lines.filter(({ event }) => event === "run.handed_back");
    return back.map(({ run }) => {
      const times = claims.filter((claim) => claim.id !== id && claim.line.run === run);
      const next = Math.min(...times.map(({ line }) => at(line)).filter((time) => time > at(drained)));
      return next - at(drained) - DRAIN_SECONDS * 1_000;
    });
  });
}

// Fails when a drain hands no run back, does not notify the queue or counts as a crash, or when a fold loses results.
test("when all workers are replaced under load, one after the other, no run is lost, repeated or late", async () => {
  const env = { WORKER_CONCURRENCY: "30", WORKER_DRAIN_SECONDS: String(DRAIN_SECONDS) };
  const oldWorkers = await Promise.all(
    Array.from({ length: WORKERS }, (_, i) => fleet.startWorker(`old-${i}`, env)),
  );
  // Runs that are enqueued to a cold queue are found by a pass of the reconciler seconds later, all at once.
  await until("the queue has its index", () =>
    fleet.queue.stats(0).then(
      () => true,
      () => false,
    ),
  );
  const stop = load();
  for (const [i, old] of oldWorkers.entries()) {
    const underWay = () =>
      runsLogged(old, "run.claimed").length - runsLogged(old, "run.execution_ended").length;
    await until(`${old.id} has runs`, () => underWay() >= UNDER_WAY);
    expect(await old.stop("SIGTERM")).toBe(0);
    // The other workers claim what it handed back before its successor starts, which keeps a processor busy.
    const handedBack = runsLogged(old, "run.handed_back");
    await until("the other workers have claimed them", () => {
      const others = fleet.workers.filter((worker) => worker !== old);
      const claimed = new Set(others.flatMap((worker) => runsLogged(worker, "run.claimed")));
      return handedBack.every((run) => claimed.has(run));
    });
    await fleet.startWorker(`new-${i}`, env);
  }

  for (const run of await stop()) {
    const row = await fleet.ended(run);
    expect(row, run).toMatchObject({ status: "completed", step_count: STEPS.length, error: null });
    const events = await fleet.events(run);
    const types = events.map(({ type }) => type);
    const count = (type: string) => types.filter((each) => each === type).length;
    expect(types, run).toHaveLength(row.event_seq);
    expect([count("orchestration_start"), count("step_start"), count("done")], run).toEqual([
      1,
      STEPS.length,
      1,
    ]);
    // Each attempt that has written an entry has this event once.
    const attempts = events.flatMap(({ type, attempt }) => (type === "worker_picked_up" ? [attempt] : []));
    expect(attempts, run).toEqual([...new Set(attempts)]);
  }
  const { sql } = fleet;
  expect(
    await sql`
      select run_id, step_path, visit, count(*)::int as times from journal where kind in ('step', 'end')
      group by run_id, step_path, visit having count(*) <> 1`,
    "committed more than once",
  ).toEqual([]);
  expect(
    await sql`
      select run_id, seq from (
        select run_id, seq, seq - events_n <> lag(seq, 1, 0) over w as hole, attempt < lag(attempt, 1, 1) over w as back
        from journal window w as (partition by run_id order by seq)) entries
      where hole or back`,
    "events are missing, or come from a worker that was fenced",
  ).toEqual([]);
  expect(await sql`select run_id, attempt from runs where crash_count > 0`, "counted as crashes").toEqual([]);
  expect(await sql`select run_id, code from dead_letters`).toEqual([]);

  const tookMs = handovers();
  expect(tookMs.length, "no drain had anything to hand back").toBeGreaterThan(WORKERS);
  // `npm run bench` measures the claim of a ready run. Without the hand-back a run would wait until its lease lapses, which takes three
  // minutes with this timing.
  expect(Math.max(...tookMs)).toBeLessThan(LEASE_MS);
  // A new worker restores the leases of running runs; a lease of a run that has ended would hold a slot until it lapses.
  const stats = () => fleet.queue.stats(0);
  await expect.poll(stats).toMatchObject({ leased: 0, ready: 0 });
});
