import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { Incarnation } from "../../../shared/contracts/ids.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { Reconciler } from "../../../worker-node/reconciler/reconciler.ts";
import {
  reconcileLeases,
  restoreRunningLeases,
  releaseMoved,
} from "../../../worker-node/reconciler/restore-leases.ts";
import { jobOf } from "../../../worker-node/reconciler/parts.ts";
import { startRedis } from "../../services/services.ts";
import { acme, entryOf, openStore } from "../../shared/store/world.ts";
import type { Store } from "../../shared/store/world.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";

type Mine = ClaimedRun & { owner: Incarnation };

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

const pass = async (parts: StateStore): Promise<void> => {
  const owner = newIncarnation("r");
  const reconciler = new Reconciler({
    owner,
    store: parts,
    queue,
    isolation: true,
    announceQueue: async () => {},
  });
  reconciler.passSoon();
  await reconciler.stop();
};

/** The run ends, and its worker says so to whatever queue there is. */
async function end(run: Mine): Promise<void> {
  const changes = { kind: "end", status: "completed", output: null } as const;
  const [mine] = await flush(store.sql, [entryOf(run, changes)]);
  expect(mine).toMatchObject({ run_id: run.run_id });
  await queue.finish([{ run: run.run_id, tenant: run.tenant_id }], run.owner).catch(() => {});
}

/** The store of somebody who reads what runs, or what a run is, a moment before `then` happens; the first time only. */
function before(verb: "runningRuns" | "lookUp", then: () => Promise<void>): StateStore {
  let isFirst = true;
  const once = async <Answer>(answer: Promise<Answer>): Promise<Answer> => {
    await answer;
    if (isFirst) {
      isFirst = false;
      await then();
    }
    return answer;
  };
  return verb === "runningRuns"
    ? { ...state, runningRuns: (...args) => once(state.runningRuns(...args)) }
    : { ...state, lookUp: (...args) => once(state.lookUp(...args)) };
}

// Red when: what was held is not looked at again: a slot is taken until the lease lapses, here 15 s; or is looked at
// without asking who has it: a worker would be told that its own run is another's.
test("of runs that move while a lost queue is rebuilt, what has ended keeps no slot, and what goes on is its worker's", async () => {
  const [ends, moves, stays] = [await store.running(), await store.running(), await store.running()];
  const other = await store.worker("other");
  const meanwhile = async () => {
    await end(ends);
    await state.handBack(moves.owner, [moves]);
    await store.claim(other, moves.run_id);
  };
  await pass(before("runningRuns", meanwhile));
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

// Red when: as above, for the queue that a worker finds.
test("a run that ends, parks or is handed back while a found queue is told what runs is leased to nobody", async () => {
  await pass(state);
  const [ends, parks, returns] = [await store.running(), await store.running(), await store.running()];
  const found = before("runningRuns", async () => {
    await end(ends);
    await store.sql`update runs set status = 'paused', owner = null, wake_at = now() + interval '40 s' where run_id = ${parks.run_id}`;
    expect(await state.handBack(returns.owner, [returns])).toEqual([returns.run_id]);
  });
  await releaseMoved({ store: found, queue }, await restoreRunningLeases({ store: found, queue }, 0));
  // What was handed back waits for a second: somebody may just be claiming it.
  expect(await queue.stats(0)).toMatchObject({ leased: 0, ready: 0, due: 1, timer: 1 });
});

// Red when: what is held for another, instead of claimed, is not looked at again: 5 s of a slot.
test("a run that ends while it is held for the worker that executes it keeps no slot", async () => {
  await pass(state);
  const run = await store.running();
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
  await reconcileLeases({ store: before("lookUp", () => end(run)), queue }, claim.runs, me);
  expect(await queue.stats(0)).toMatchObject({ leased: 0, ready: 0 });
});
