import { newIncarnation } from "../shared/contracts/ids.ts";
import type { LiveEntry } from "../shared/events/live.ts";
import { log } from "../shared/log.ts";
import { Queue } from "../shared/queue/queue.ts";
import type { RedisCommands } from "../shared/queue/scripts.ts";
import type { StateStore } from "../shared/store/state.ts";
import { openObjectStore } from "./clients/object-store.ts";
import { openStore } from "./clients/open-store.ts";
import { scriptCommands } from "./clients/redis.ts";
import { openWorkerRedis } from "./clients/worker-redis.ts";
import type { Config } from "./config.ts";
import { openExecution } from "./execution/open-execution.ts";
import { FleetMember } from "./fleet-member.ts";
import { childStarts, notifiedOf } from "./fleet/child-starts.ts";
import { Slots } from "./fleet/slots.ts";
import { enqueueSuccessors } from "./fleet/enqueue-successors.ts";
import { workerTiming } from "./fleet/worker-timing.ts";
import { publishLive } from "./clients/publish.ts";
import { CounterReports } from "./ops/counter-reports.ts";
import { Counters } from "./ops/counters.ts";
import { portOf } from "./ops/health-server.ts";
import { healthReader, serveOps } from "./ops/serve-ops.ts";
import { WorkerStatus } from "./ops/worker-status.ts";
import { createEgress } from "./outbound/egress-guard.ts";
import { Scheduler } from "./schedules/scheduler.ts";
import { Sender } from "./webhooks/sender.ts";
import { onFlush } from "./on-flush.ts";

/** Test hooks between a worker and its stores: each function gets the real part and returns the part that the worker uses. */
export type TestHooks = {
  store?(store: StateStore): StateStore;
  commands?(commands: RedisCommands): RedisCommands;
  publish?(publish: (entries: LiveEntry[]) => void): (entries: LiveEntry[]) => void;
};

/**
 * Wires a worker together and starts it. Resolves once it serves its health and claims runs.
 * @returns the function that drains it, and the promise of an operator's request to do so
 */
export async function startWorker(
  config: Config,
  hooks: TestHooks = {},
): Promise<{ drain(): Promise<void>; drainRequested: Promise<void> }> {
  const owner = newIncarnation(config.workerId);
  const opened = await openStore(config);
  const rawStore = hooks.store?.(opened.store) ?? opened.store;
  const egress = createEgress(config.EGRESS_ALLOW);
  const sender = new Sender(rawStore, { egress, masterKey: config.MASTER_KEY ?? null });
  const artifacts = openObjectStore(config);
  const redis = openWorkerRedis(config, owner);
  const scripts = scriptCommands(redis.commands);
  const queue = new Queue(hooks.commands?.(scripts) ?? scripts, config.QUEUE_SHARDS);
  const children = childStarts({
    queue,
    maxDepth: Math.ceil(config.MAX_GLOBAL_QUEUE_DEPTH / config.QUEUE_SHARDS),
    isolation: config.ENABLE_TENANT_ISOLATION,
    hint: redis.hint,
  });
  const store = onFlush(rawStore, (committed) => {
    if (committed.some(({ webhook }) => webhook)) sender.wake();
    children.notify(notifiedOf(committed));
    enqueueSuccessors(rawStore, queue, committed);
  });
  const live = publishLive(redis.commands, config.EVENT_SHARDS);
  const publish = hooks.publish?.(live) ?? live;
  const counters = new Counters();
  const parts = { owner, config, store, artifacts, egress, publish, children, count: counters };
  const execution = openExecution(parts);

  const slots = new Slots(config.WORKER_CONCURRENCY, config.WORKER_LANES);
  const status = new WorkerStatus(config, slots);
  const drainRequested = Promise.withResolvers<void>();
  const shared = { owner, store, queue, slots, waitForWork: redis.waitForWork, endWaits: redis.endWaits };
  const member = new FleetMember({
    ...shared,
    execution: execution.deps,
    timing: workerTiming,
    isolation: config.ENABLE_TENANT_ISOLATION,
    report: () => status.forBeat(),
    onDrain: () => drainRequested.resolve(),
  });
  const scheduler = new Scheduler({ store, queue, maxQueueDepth: config.MAX_GLOBAL_QUEUE_DEPTH });
  const { repairs } = member.reconciler;
  const reports = new CounterReports({ owner, store, counters, repairs, sent: sender.sent });
  redis.onHint(() => void member.heartbeat.beatAgain());
  const health = healthReader({ store, redis, artifacts, status });
  redis.onHealthQuestion(async () => JSON.stringify(await health()));
  const ops = await serveOps({ config, store, health, slots, member, sender });
  await member.start();
  execution.lister.start();
  reports.start();
  scheduler.start();
  if (config.WORKER_LANES.includes("webhooks")) sender.start();
  const ready = { worker: config.workerId, incarnation: owner, pid: process.pid, slots: slots.openTotal };
  log.info("worker.ready", { ...ready, health_port: portOf(ops), models: execution.models });

  const drain = async (): Promise<void> => {
    status.isDraining = true;
    log.info("worker.drain_started", { active: slots.active, seconds: config.WORKER_DRAIN_SECONDS });
    void member.heartbeat.beat();
    const graceMs = config.WORKER_DRAIN_SECONDS * 1_000;
    const lists = execution.lister.stop();
    await Promise.all([member.worker.drain(graceMs), sender.drain(graceMs), lists, scheduler.stop()]);
    await member.stop();
    await reports.stop();
    ops.close();
    redis.close();
    await Promise.all([execution.close(), opened.close()]);
    log.info("worker.stopped", { worker: config.workerId });
  };
  return { drain, drainRequested: drainRequested.promise };
}
