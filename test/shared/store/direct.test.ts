import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { claimDirectly } from "../../../shared/store/runs/claim.ts";
import { acceptRuns } from "../../../shared/store/runs/runs.ts";
import { pgArray } from "../../../shared/store/sql.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { stateStore } from "../../../shared/store/state.ts";
import { Leases } from "../../../worker-node/fleet/leases.ts";
import { beatOf, newRun, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore();
});
afterEach(() => store.close());

async function tenant(id: string, limits: { queued?: number; concurrent?: number }): Promise<TenantId> {
  const tenant_id = TenantId.parse(id);
  const { queued = 1000, concurrent = 100 } = limits;
  await store.sql`
    insert into tenants (tenant_id, max_queued_runs, max_concurrent_runs) values (${tenant_id}, ${queued}, ${concurrent})`;
  await store.sql`
    insert into orchestrations (tenant_id, id, name, version) values (${tenant_id}, 'orch', 'orch', 1)`;
  return tenant_id;
}

describe("an accept that counts by itself", () => {
  // Red when: queue_room counts in the query that locks, or does not lock.
  test("never passes max_queued_runs, however many edges ask at once", async () => {
    const tenant_id = await tenant("exact", { queued: 10 });
    const batches = Array.from({ length: 16 }, () => [newRun({ tenant_id }), newRun({ tenant_id })]);
    const accepted = await Promise.all(batches.map((runs) => acceptRuns(store.sql, runs, "postgres")));
    expect(accepted.reduce((sum, rows) => sum + rows.size, 0)).toBe(10);
    const [row] = await store.sql`select count(*)::int as n from runs where tenant_id = ${tenant_id}`;
    expect(row?.n).toBe(10);
  });

  test("takes batches of many tenants, in any order, at once", async () => {
    const tenants = await Promise.all(Array.from({ length: 40 }, (_, i) => tenant(`mix-${i}`, {})));
    const batches = Array.from({ length: 80 }, (_, i) => {
      const some = tenants.filter((_tenant, t) => (t * (i + 3)) % 7 < 4);
      return (i % 2 === 0 ? some : some.toReversed()).map((tenant_id) => newRun({ tenant_id }));
    });
    const accepted = await Promise.all(batches.map((runs) => acceptRuns(store.sql, runs, "postgres")));
    expect(accepted.map((rows) => rows.size)).toEqual(batches.map((runs) => runs.length));
  });
});

const unreachable = async (): Promise<never> => Promise.reject(new Error("connection refused"));

/** Workers as they are while Redis is away. */
async function cutOff(): Promise<void> {
  await store.sql`update workers set redis_ok = false`;
}

describe("a claim straight from the database", () => {
  // Red when: claimable_runs does not ask whether anybody reaches the queue.
  test("gives nothing while any worker reaches the queue, which would not know of it", async () => {
    const tenant_id = await tenant("held", { concurrent: 3 });
    await acceptRuns(store.sql, [newRun({ tenant_id })], "postgres");
    const alone = await store.worker("alone");
    expect(await claimDirectly(store.sql, alone, 5, Lane.options)).toEqual([]);
    await cutOff();
    expect(await claimDirectly(store.sql, alone, 5, Lane.options)).toHaveLength(1);
  });

  // Red when: claimable_runs looks at queued runs alone.
  test("takes over what a silent worker has, whatever its tenant's limit", async () => {
    const tenant_id = await tenant("abandoned", { concurrent: 1 });
    const { run_id, owner } = await store.running({ tenant_id });
    // Not its beat set back: a Postgres that has just started takes nobody for silent.
    await store.sql`delete from workers where incarnation = ${owner}`;
    const heir = await store.worker("heir");
    await cutOff();
    const claimed = await claimDirectly(store.sql, heir, 5, Lane.options);
    expect(claimed.map((run) => [run.run_id, run.attempt, run.crash_count])).toEqual([[run_id, 2, 1]]);
  });

  // Red when: claimable_runs does not ask for the lane, of what is queued or of what is abandoned.
  test("gives a worker runs of its own lanes only", async () => {
    const tenant_id = await tenant("lanes", {});
    const [bulk, quick] = [newRun({ tenant_id, lane: "bulk" }), newRun({ tenant_id, lane: "interactive" })];
    await acceptRuns(store.sql, [bulk, quick], "postgres");
    const { run_id: left, owner } = await store.running({ tenant_id, lane: "mail" });
    await store.sql`delete from workers where incarnation = ${owner}`;
    const worker = await store.worker("worker");
    await cutOff();
    const take = async (...lanes: Lane[]) =>
      (await claimDirectly(store.sql, worker, 5, lanes)).map(({ run_id }) => run_id);
    expect(await take("default", "interactive")).toEqual([quick.run_id]);
    expect(await take("mail")).toEqual([left]);
    expect(await take("bulk")).toEqual([bulk.run_id]);
  });

  test("never passes max_concurrent_runs, however many workers claim at once", async () => {
    const limited = await tenant("three", { concurrent: 3 });
    await acceptRuns(
      store.sql,
      Array.from({ length: 20 }, () => newRun({ tenant_id: limited })),
      "postgres",
    );
    const owners = await Promise.all(Array.from({ length: 8 }, (_, i) => store.worker(`w${i}`)));
    await cutOff();
    const claims = await Promise.all(
      owners.map((owner) => claimDirectly(store.sql, owner, 50, Lane.options)),
    );
    const mine = claims.flat().filter((run) => run.tenant_id === limited);
    expect(mine).toHaveLength(3);
    expect(new Set(mine.map((run) => run.run_id)).size).toBe(3);
    const late = await store.worker();
    await cutOff();
    expect(await claimDirectly(store.sql, late, 50, Lane.options)).toEqual([]);
  });

  // Red when: claimable_runs does not hold the row `direct` until its transaction ends.
  test("waits for the claim before it, so that both do not count the same free slot", async () => {
    const limited = await tenant("one", { concurrent: 1 });
    await acceptRuns(store.sql, [newRun({ tenant_id: limited }), newRun({ tenant_id: limited })], "postgres");
    const [first, second] = [await store.worker("first"), await store.worker("second")];
    await cutOff();
    let waited = true;
    let later: Promise<unknown[]> = Promise.resolve([]);
    await store.sql.begin(async (tx) => {
      await tx`select claimable_runs(1, ${pgArray(Lane.options)}::text[])`;
      later = claimDirectly(store.sql, second, 5, Lane.options).finally(() => (waited = false));
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(waited).toBe(true);
      await tx`
        update runs set status = 'running', owner = ${first}, deadline_at = now() + interval '60 s'
        where run_id = (select run_id from runs where tenant_id = ${limited} order by run_id desc limit 1)`;
    });
    expect(await later).toEqual([]);
  });

  // Red when: `announceQueue` does not take the row `direct`, or takes it before its beat.
  test("is over, and the last one, when a worker has announced that the queue answers", async () => {
    const tenant_id = await tenant("found", { concurrent: 1 });
    await acceptRuns(store.sql, [newRun({ tenant_id }), newRun({ tenant_id })], "postgres");
    const [away, found] = [await store.worker("away"), await store.worker("found")];
    await cutOff();
    const queue = new Queue({ evalsha: unreachable, eval: unreachable }, 1);
    const self = () => ({ ...beatOf(found), redis_ok: false });
    const state = stateStore(store.sql);
    const ignore = () => {};
    const leases = new Leases({ owner: found, store: state, queue, self, onCold: ignore, onAway: ignore });
    let isAnnounced = false;
    let announced = Promise.resolve();
    await store.sql.begin(async (tx) => {
      await tx`select claimable_runs(1, ${pgArray(Lane.options)}::text[])`;
      announced = leases.announceQueue().then(() => void (isAnnounced = true));
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(isAnnounced).toBe(false);
    });
    await announced;
    expect(await claimDirectly(store.sql, away, 5, Lane.options)).toEqual([]);
    await leases.beat();
    expect(await claimDirectly(store.sql, away, 5, Lane.options)).toEqual([]);
  });

  test("takes the tenants in turn, and each tenant's oldest first", async () => {
    const [a, b] = [await tenant("turn-a", {}), await tenant("turn-b", {})];
    const runsOf = async (tenant_id: TenantId, n: number) => {
      const runs = Array.from({ length: n }, () => newRun({ tenant_id }));
      for (const run of runs) await acceptRuns(store.sql, [run], "postgres");
      return runs.map((run) => run.run_id);
    };
    const [first, second] = [await runsOf(a, 6), await runsOf(b, 2)];
    const owner = await store.worker();
    await cutOff();
    const claimed = await claimDirectly(store.sql, owner, 4, Lane.options);
    expect(new Set(claimed.map((run) => run.run_id))).toEqual(new Set([...first.slice(0, 2), ...second]));
  });
});
