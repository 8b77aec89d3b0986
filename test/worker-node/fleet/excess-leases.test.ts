/** A tenant with more leases than slots, on real stores: docs/protocol.md 5.2 and 10. */
import { builtInPrices } from "../fakes.ts";
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { jobOf } from "../../../shared/queue/job.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { saveOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import { stateStore } from "../../../shared/store/state.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { Definitions } from "../../../worker-node/execution/definitions.ts";
import { Slots } from "../../../worker-node/fleet/slots.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import { FleetMember } from "../../../worker-node/fleet-member.ts";
import { noChildren } from "../fakes.ts";
import { TrackLimiter } from "../../../worker-node/execution/track-limiter.ts";
import { Journal } from "../../../worker-node/journal/journal.ts";
import { Counters } from "../../../worker-node/ops/counters.ts";
import { startRedis } from "../../services/services.ts";
import { silentPeer, slowPeer } from "../../services/waiting.ts";
import { acme, openStore } from "../../shared/store/store-fixture.ts";
import type { Store } from "../../shared/store/store-fixture.ts";
import { untraced } from "../../../worker-node/tracing/tracing.ts";

let store: Store;
let service: Service;
let redis: Redis;
let queue: Queue;
let members: FleetMember[];

beforeEach(async () => {
  [store, service] = await Promise.all([openStore(), startRedis()]);
  redis = new Redis(service.url, { protocol: 2, maxRetriesPerRequest: 1 });
  queue = new Queue(scriptCommands(redis), 1);
  members = [];
  const llm = { id: "a", type: "llm", model: "demo/fast", prompt_template: "Write" };
  const definition = JSON.stringify({ id: "orch", name: "orch", entry_step_id: "a", steps: [llm] });
  await saveOrchestration(store.sql, acme, { id: "orch", name: "orch", description: "", definition });
});
afterEach(async () => {
  for (const { worker } of members) await worker.drain(0);
  for (const member of members) await member.stop();
  redis.disconnect();
  await Promise.all([store.close(), service.stop()]);
});

/** A worker whose model calls last until they are aborted. */
function newWorker(): FleetMember {
  const owner = newIncarnation("w");
  const state = stateStore(store.sql);
  const refuse = async (): Promise<never> => Promise.reject(new Error("not in this test"));
  const slots = new Slots(5, Lane.options);
  const member = new FleetMember({
    owner,
    store: state,
    masterKeys: null,
    queue,
    slots,
    timing: workerTiming,
    isolation: true,
    report: () => ({
      worker_id: "w",
      hostname: "h",
      address: "",
      status: "online" as const,
      lanes: Lane.options,
      slots: slots.openTotal,
      active: slots.active,
      loop_lag_ms: 0,
    }),
    waitForWork: (_shard, _lanes, ms) => slowPeer(ms, false),
    endWaits: () => {},
    execution: {
      owner,
      journal: new Journal(owner, state, () => {}),
      definitions: new Definitions(state),
      defaultModel: async () => "demo/fast",
      windowTokens: async () => 128_000,
      models: { generate: ({ signal }) => silentPeer(signal) },
      prices: builtInPrices(),
      tools: { toolsOf: async () => [], call: refuse, callMcp: refuse },
      sandbox: { of: () => ({ evaluate: refuse, transform: refuse }) },
      artifacts: () => null,
      files: () => null,
      tracing: untraced,
      trackLimiter: new TrackLimiter(),
      count: new Counters(),
      children: noChildren,
      store: state,
    },
  });
  members.push(member);
  return member;
}

const setLimit = (limit: number) =>
  store.sql`update tenants set max_concurrent_runs = ${limit}, version = version + 1, updated_at = now() where tenant_id = ${acme}`;

/** A reconciler makes the index of the empty Redis, and pushes the limits. */
async function buildIndex(): Promise<void> {
  const { reconciler } = newWorker();
  reconciler.passSoon();
  await reconciler.stop();
  members.pop();
}

// Fails when a lapsed lease is claimed although its tenant has more leases than slots, and Postgres does not call its run
// running: the tenant has two running runs then, and its limit is 1.
test("no limit is exceeded when the lease of a run whose claimer died lapses after another run was claimed directly", async () => {
  await setLimit(1);
  await buildIndex();
  const leased = await store.accept();
  const [job] = await store.sql<Parameters<typeof jobOf>[0][]>`
    select run_id, tenant_id, lane, priority, extract(epoch from queued_at)::float8 * 1000 as queued_at_ms
    from runs where run_id = ${leased}`;
  if (!job) throw new Error("no run");
  await queue.enqueue([
    { ...jobOf({ ...job, queued_at_ms: Math.floor(job.queued_at_ms) }), status: "queued", delayMs: 0 },
  ]);
  // A worker takes the tenant's only slot in the queue, and dies before it claims the run in Postgres.
  const claim = await queue.claim({
    shard: 0,
    owner: "dead",
    leaseMs: 1,
    slots: 1,
    lanes: { default: 1 },
    ended: [],
  });
  expect(claim.runs).toEqual([{ run: leased, tenant: acme }]);
  // The queue was unreachable meanwhile: another worker claimed a run directly, for which Postgres had room.
  const running = await store.startRun();
  const member = newWorker();
  await member.start();
  await expect.poll(() => queue.tenantStats(acme)).toEqual({ active: 1, queuedOrReserved: 1 });
  expect(await store.row(leased)).toMatchObject({ status: "queued", attempt: 0 });
  expect(await store.row(running.run_id)).toMatchObject({ status: "running", owner: running.owner });
});

// Fails when a tenant's lapsed leases are not claimed because it has more leases than slots: after its limit was lowered, the
// runs of a dead worker would not move.
test("the runs of a dead worker are taken over although their tenant's limit was lowered", async () => {
  await setLimit(2);
  await buildIndex();
  const runs = [await store.startRun(), await store.startRun()];
  for (const { owner } of runs) await store.sql`delete from workers where incarnation = ${owner}`;
  await setLimit(1);
  await newWorker().start();
  for (const { run_id } of runs)
    await expect.poll(() => store.row(run_id)).toMatchObject({ status: "running", attempt: 2 });
});
