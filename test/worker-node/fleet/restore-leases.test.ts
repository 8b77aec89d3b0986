import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { Incarnation } from "../../../shared/contracts/ids.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { Reconciler } from "../../../worker-node/reconciler/reconciler.ts";
import {
  reconcileLeases,
  restoreRunningLeases,
  releaseMoved,
} from "../../../worker-node/fleet/restore-leases.ts";
import { jobOf } from "../../../shared/queue/job.ts";
import { QueueLinks } from "../../../worker-node/fleet/queue-links.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import { startRedis } from "../../services/services.ts";
import { acme, stepEntry, openStore } from "../../shared/store/store-fixture.ts";
import type { Store } from "../../shared/store/store-fixture.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";

type OwnedRun = ClaimedRun & { owner: Incarnation };

let store: Store;
let service: Service;
let redis: Redis;
let queue: Queue;
let state: StateStore;

beforeEach(async () => {
  [store, service] = await Promise.all([openStore(), startRedis()]);
  redis = new Redis(service.url, { protocol: 2, maxRetriesPerRequest: 1 });
  queue = new Queue(scriptCommands(redis), 1);
  state = stateStore(store.sql);
});
afterEach(async () => {
  redis.disconnect();
  await Promise.all([store.close(), service.stop()]);
});

const timing = workerTiming;

/** A pass of a reconciler that reads this store. */
const pass = async (readStore: StateStore): Promise<void> => {
  const owner = newIncarnation("r");
  const reconciler = new Reconciler({
    files: () => null,
    owner,
    store: readStore,
    queue,
    links: new QueueLinks(1, timing),
    timing,
    isolation: true,
    announceQueue: async () => {},
  });
  reconciler.passSoon();
  await reconciler.stop();
};

/** The run ends, and its worker finishes its job, if the queue takes it. */
async function end(run: OwnedRun): Promise<void> {
  const changes = { kind: "end", status: "completed" } as const;
  const [committed] = await flush(store.sql, [stepEntry(run, changes)]);
  expect(committed).toMatchObject({ run_id: run.run_id });
  await queue.finish([{ run: run.run_id, tenant: run.tenant_id }], run.owner).catch(() => {});
}

/** A store for which `then` happens between the first read by `verb` and its reply. */
function beforeReplyOf(verb: "listRunningRuns" | "readRunSnapshots", then: () => Promise<void>): StateStore {
  let isFirst = true;
  const once = async <Reply>(reply: Promise<Reply>): Promise<Reply> => {
    await reply;
    if (isFirst) {
      isFirst = false;
      await then();
    }
    return reply;
  };
  return verb === "listRunningRuns"
    ? { ...state, listRunningRuns: (...args) => once(state.listRunningRuns(...args)) }
    : { ...state, readRunSnapshots: (...args) => once(state.readRunSnapshots(...args)) };
}

// Fails when restored leases are not read again: an ended run takes a slot until its lease lapses. Fails also
// when the owner is not compared: the lease of a run that changed its owner would supersede the new owner.
test("after a rebuild, runs that moved meanwhile have no lease or that of their new owner", async () => {
  const [ends, moves, stays] = [await store.startRun(), await store.startRun(), await store.startRun()];
  const other = await store.addWorker("other");
  const meanwhile = async () => {
    await end(ends);
    await state.handBack(moves.owner, [moves]);
    await store.claim(other, moves.run_id);
  };
  await pass(beforeReplyOf("listRunningRuns", meanwhile));
  expect(await queue.stats(0)).toMatchObject({ leased: 2, ready: 0 });
  expect(await queue.renew({ shard: 0, owner: other, leaseMs: 15_000, runs: [moves.run_id] })).toEqual({
    lostLeases: [],
    unknownLeases: [],
  });
  expect(await queue.renew({ shard: 0, owner: stays.owner, leaseMs: 15_000, runs: [stays.run_id] })).toEqual({
    lostLeases: [],
    unknownLeases: [],
  });
});

// Fails as above, when a worker synchronizes a queue that it reaches again.
test("a run that ends, parks or is handed back while leases are restored has no lease", async () => {
  await pass(state);
  const [ends, parks, returns] = [await store.startRun(), await store.startRun(), await store.startRun()];
  const moving = beforeReplyOf("listRunningRuns", async () => {
    await end(ends);
    await store.sql`update runs set status = 'paused', owner = null, wake_at = now() + interval '40 s' where run_id = ${parks.run_id}`;
    expect(await state.handBack(returns.owner, [returns])).toEqual([returns.run_id]);
  });
  await releaseMoved({ store: moving, queue }, await restoreRunningLeases({ store: moving, queue }, 0));
  // The run that was handed back waits for a second: another worker may be claiming it.
  expect(await queue.stats(0)).toMatchObject({ leased: 0, ready: 0, due: 1, timer: 1 });
});

// Fails when the lease that was passed on to the owner is not read again: it would take a slot until it lapses.
test("a run that ends while its lease is passed on to its owner has no lease", async () => {
  await pass(state);
  const run = await store.startRun();
  const me = newIncarnation("me");
  await queue.enqueue([{ ...jobOf(run), status: "queued", delayMs: 0 }]);
  const claim = await queue.claim({
    shard: 0,
    owner: me,
    leaseMs: 15_000,
    slots: 1,
    lanes: { default: 1 },
    ended: [],
  });
  expect(claim.runs).toEqual([{ run: run.run_id, tenant: acme }]);
  await reconcileLeases({ store: beforeReplyOf("readRunSnapshots", () => end(run)), queue }, claim.runs, me);
  expect(await queue.stats(0)).toMatchObject({ leased: 0, ready: 0 });
});
