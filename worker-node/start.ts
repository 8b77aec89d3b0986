import { log, messageOf } from "../shared/log.ts";
import type { Config } from "./config.ts";
import { FleetMember } from "./fleet-member.ts";
import { Slots } from "./fleet/slots.ts";
import { workerTiming } from "./fleet/worker-timing.ts";
import { openWorker } from "./open-worker.ts";
import type { TestHooks } from "./open-worker.ts";
import { answerQuestions } from "./ops/answer-questions.ts";
import { CounterReports } from "./ops/counter-reports.ts";
import { freeStartMemory } from "./ops/free-start-memory.ts";
import { portOf } from "./ops/health-server.ts";
import { healthReader, serveOps } from "./ops/serve-ops.ts";
import { WorkerStatus } from "./ops/worker-status.ts";
import { Scheduler } from "./schedules/scheduler.ts";

/**
 * Starts a worker. Resolves once it serves its health and claims runs.
 * @returns the function that drains it, and the promise of an operator's request to do so
 */
export async function startWorker(
  config: Config,
  hooks: TestHooks = {},
): Promise<{ drain(): Promise<void>; drainRequested: Promise<void> }> {
  const opened = await openWorker(config, hooks);
  const { owner, store, queue, redis, objects, webhookSender, mailSender, execution, settings } = opened;
  const slots = new Slots(config.WORKER_CONCURRENCY, config.WORKER_LANES, opened.laneSettings);
  const status = new WorkerStatus(config, slots);
  const drainRequested = Promise.withResolvers<void>();
  const shared = { owner, store, queue, slots, waitForWork: redis.waitForWork, endWaits: redis.endWaits };
  const member = new FleetMember({
    ...shared,
    execution: execution.deps,
    timing: workerTiming,
    masterKeys: config.MASTER_KEYS ?? null,
    isolation: config.ENABLE_TENANT_ISOLATION,
    report: () => status.forBeat(),
    onSettings: (stored) => settings.replace(stored),
    onDrain: () => drainRequested.resolve(),
  });
  const { tracer, counters } = opened;
  const scheduler = new Scheduler({ store, queue, maxQueueDepth: settings.maxQueueDepth, tracer });
  const { repairs } = member.reconciler;
  const reports = new CounterReports({ owner, store, counters, repairs, sent: webhookSender.sent });
  objects.onMissing(() => member.heartbeat.beatAgain());
  redis.onHint(() => void member.heartbeat.beatAgain());
  const health = healthReader({ store, redis, artifacts: objects.current, status });
  answerQuestions(redis, health, opened.mailServers);
  const ops = await serveOps({ config, settings, store, health, slots, status, member, webhookSender });
  await member.start();
  for (const part of [execution.mcp, reports, scheduler]) part.start();
  if (config.WORKER_LANES.includes("webhooks")) webhookSender.start();
  if (config.WORKER_LANES.includes("mail")) mailSender.start();
  const ready = { worker: config.workerId, incarnation: owner, pid: process.pid, slots: slots.openTotal };
  log.info("worker.ready", { ...ready, health_port: portOf(ops), models: execution.models });
  // After the worker is ready: its runs do not wait for it, and the first model call does not either.
  execution
    .preloadModels()
    .catch((error: unknown) => log.warn("models.not_loaded", { message: messageOf(error) }))
    .finally(freeStartMemory);

  const drain = async (): Promise<void> => {
    status.isDraining = true;
    log.info("worker.drain_started", { active: slots.active, seconds: config.WORKER_DRAIN_SECONDS });
    void member.heartbeat.beat();
    const graceMs = config.WORKER_DRAIN_SECONDS * 1_000;
    const upkeep = execution.mcp.stop();
    const senders = [webhookSender.drain(graceMs), mailSender.drain(graceMs)];
    await Promise.all([member.worker.drain(graceMs), ...senders, upkeep, scheduler.stop()]);
    await member.stop();
    await reports.stop();
    ops.close();
    await opened.close();
    log.info("worker.stopped", { worker: config.workerId });
  };
  return { drain, drainRequested: drainRequested.promise };
}
