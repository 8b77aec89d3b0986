import { setTimeout as sleep } from "node:timers/promises";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { pgArray } from "../../../shared/store/sql.ts";
import type { BenchFleet } from "./fleet.ts";

const RUNS = 5;
const SAMPLE_MS = 5;
const PATIENCE_MS = 60_000;
const PROGRESS_EVERY = 10;

/**
 * Ends a worker with runs, `times` times, while another worker is idle: it is the next one to be ended.
 * @returns for each run the milliseconds from the signal until the other worker has claimed it
 */
export async function measureHandovers(
  fleet: BenchFleet,
  times: number,
  signal: "SIGKILL" | "SIGTERM",
): Promise<number[]> {
  const waitsMs: number[] = [];
  let owner = await fleet.start(`${signal}-0`);
  for (let time = 1; time <= times; time++) {
    const runs = await fleet.submit(RUNS);
    await untilClaimed(fleet, runs, 1);
    const next = await fleet.start(`${signal}-${time}`);
    // A pause of random length, so that the signal does not always come at the same moment between two beats.
    await sleep(Math.random() * 2_000);
    const endedMs = performance.now();
    const ended = owner.stop(signal);
    waitsMs.push(...(await untilClaimed(fleet, runs, 2)).map((atMs) => atMs - endedMs));
    await ended;
    owner = next;
    // A measurement takes minutes: a handover about 8 s.
    if (time % PROGRESS_EVERY === 0) console.log(`${signal}: ${time} of ${times}`);
  }
  await owner.stop("SIGKILL");
  // The next measurement begins without runs.
  await fleet.sql`update runs set status = 'cancelled', ended_at = now(), wake_at = null, owner = null where ended_at is null`;
  return waitsMs;
}

/** Waits until each run executes under this attempt. @returns when each was first seen so */
async function untilClaimed({ sql }: BenchFleet, runs: readonly RunId[], attempt: number): Promise<number[]> {
  const seen = new Map<string, number>();
  const endMs = performance.now() + PATIENCE_MS;
  while (performance.now() < endMs) {
    const rows = await sql<{ run_id: string }[]>`
      select run_id from runs where run_id = any(${pgArray(runs)}::text[]) and attempt >= ${attempt}`;
    for (const { run_id } of rows) if (!seen.has(run_id)) seen.set(run_id, performance.now());
    if (seen.size === runs.length) return [...seen.values()];
    await sleep(SAMPLE_MS);
  }
  throw new Error(`${runs.length - seen.size} runs have no attempt ${attempt}`);
}
