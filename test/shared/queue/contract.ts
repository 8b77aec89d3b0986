import { expect } from "vitest";
import { queueShardOf } from "../../../shared/keys.ts";
import type { Queue } from "../../../shared/queue/queue.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { makeQuotaReady } from "./rebuild-shard.ts";
import { ALL_LANES, job, LEASE_MS, limits, runOf } from "./fixture.ts";

/** Calls every verb once, with each kind of reply, at the time of Redis: every client and every layout must pass. */
export async function checkContract(queue: Queue): Promise<void> {
  const names = Array.from({ length: 3 * queue.shards }, (_, i) => `tenant-${i}`);
  const jobs = names.map((name, i) => job(i, name));
  const shards = Array.from({ length: queue.shards }, (_, shard) => shard);
  expect(new Set(jobs.map(({ tenant }) => queueShardOf(tenant, queue.shards))).size).toBe(queue.shards);

  const epochs = await Promise.all(shards.map((shard) => queue.reset(shard)));
  await expect(queue.enqueue(jobs)).rejects.toThrow(ColdError);
  await queue.pushLimits(names.map((name) => limits(name)));
  for (const first of jobs.slice(0, 1)) {
    const epoch = epochs[queueShardOf(first.tenant, queue.shards)] ?? "";
    await queue.restoreLeases({ jobs: [first], owner: "w1", leaseMs: LEASE_MS, epoch });
  }
  for (const [shard, epoch] of epochs.entries()) {
    await queue.beginIndex(shard, epoch ?? "");
    expect(await queue.reset(shard)).toBeNull();
    await makeQuotaReady(queue, shard, 1_799_999_999_999);
    expect(await queue.readIndex(shard)).toMatchObject({
      uptoMs: 1_799_999_999_999,
      quotaReady: true,
      limitsUptoMs: -Infinity,
    });
  }

  for (const each of jobs.slice(1)) expect(await queue.admit([each], 100)).toMatchObject([{ ok: true }]);
  await queue.enqueue(jobs.slice(1));
  const claims = await Promise.all(
    shards.map((shard) =>
      queue.claim({ shard, owner: "w1", leaseMs: LEASE_MS, slots: 10, lanes: ALL_LANES, ended: [runOf(0)] }),
    ),
  );
  expect(claims.flatMap(({ runs }) => runs.map(({ run }) => run)).toSorted()).toEqual(
    jobs.slice(1).map(({ run }) => run),
  );
  for (const shard of shards) {
    const shardJobs = jobs.filter(({ tenant }) => queueShardOf(tenant, queue.shards) === shard);
    const unknownLeases = shardJobs.filter(({ run }) => run === runOf(0)).map(({ run }) => run);
    const renewal = await queue.renew({
      shard,
      owner: "w1",
      leaseMs: LEASE_MS,
      runs: shardJobs.map(({ run }) => run),
    });
    expect(renewal).toEqual({ lostLeases: [], unknownLeases });
  }
  await queue.release(
    jobs.slice(1, 3).map((each) => ({ ...each, status: "paused", delayMs: 60_000 })),
    "w1",
  );
  await queue.finish(jobs.slice(3), "w1");
  const stats = await Promise.all(shards.map((shard) => queue.stats(shard)));
  expect(stats.reduce((sum, { timer }) => sum + timer, 0)).toBe(2);
  expect(
    stats.reduce((sum, { leased, ready, due, reserved }) => sum + leased + ready + due + reserved, 0),
  ).toBe(0);
  for (const { tenant } of jobs)
    expect(await queue.tenantStats(tenant)).toEqual({ active: 0, queuedOrReserved: 0 });
  expect(await queue.admit([job(77, "stranger")], 100)).toEqual([{ ok: false, reason: "unknown" }]);
}
