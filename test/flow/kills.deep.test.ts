import { afterEach, beforeEach, expect, test } from "vitest";
import type { RunId } from "../../shared/contracts/ids.ts";
import { pace } from "../services/waiting.ts";
import { startFleet } from "./fleet.ts";
import type { Fleet } from "./fleet.ts";
import { fourTexts, STEPS } from "./four-texts.ts";

const RUNS = 60;
const KILLS = 7;

let fleet: Fleet;

beforeEach(async () => {
  fleet = await startFleet();
  await fleet.define(fourTexts);
});
afterEach(() => fleet.close());

/** Expects of an ended run, whatever happened to its workers: no gap in its journal, each step once, and one `done`. */
async function checkRun(run: RunId, eventSeq: number): Promise<void> {
  const journal = await fleet.sql<
    {
      seq: number;
      events_n: number;
      attempt: number;
      kind: string;
      step_path: string | null;
      visit: number | null;
    }[]
  >`
    select seq, events_n, attempt, kind, step_path, visit from journal where run_id = ${run} order by seq`;
  let seq = 0;
  let attempt = 0;
  for (const entry of journal) {
    expect(entry.seq - entry.events_n, `${run} has a hole before ${entry.seq}`).toBe(seq);
    expect(entry.attempt).toBeGreaterThanOrEqual(attempt);
    seq = entry.seq;
    attempt = entry.attempt;
  }
  expect(seq).toBe(eventSeq);
  const results = journal.filter(({ kind }) => kind === "step" || kind === "end");
  expect(results.map(({ step_path, visit }) => `${step_path} ${visit}`)).toEqual(
    STEPS.map((id) => `${id} 1`),
  );
  const types = (await fleet.events(run)).map(({ type }) => type);
  expect(types.filter((type) => type === "done")).toHaveLength(1);
  expect(types.filter((type) => type === "step_start")).toHaveLength(STEPS.length);
}

// Fails when the fence lacks one of its columns, or when a takeover loses or repeats a committed result.
test("each of sixty runs ends once while workers are killed one after the other and Redis is emptied", async () => {
  const env = { WORKER_CONCURRENCY: "10" };
  await Promise.all(["w0", "w1", "w2"].map((id) => fleet.startWorker(id, env)));
  const runs: RunId[] = [];
  for (let i = 0; i < RUNS; i++) runs.push(await fleet.run("orch_long"));
  for (let kill = 0; kill < KILLS; kill++) {
    await pace(1_000);
    const victim = fleet.workers[kill];
    await victim?.stop("SIGKILL");
    if (kill === 3) await fleet.redis.flushall();
    await fleet.startWorker(`w${kill + 3}`, env);
  }
  for (const run of runs) {
    const row = await fleet.ended(run);
    expect(row, run).toMatchObject({ status: "completed", step_count: STEPS.length, error: null });
    await checkRun(run, row.event_seq);
  }
  const [taken] = await fleet.sql<{ n: number }[]>`select count(*)::int as n from runs where attempt > 1`;
  expect(taken?.n, "no kill hit a worker with runs").toBeGreaterThan(0);
  const [charged] =
    await fleet.sql`select sum(r.cost_micro_usd) = (select sum(cost_micro_usd) from usage) as same from runs r`;
  expect(charged?.same).toBe(true);
});
