import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster, Redis } from "ioredis";
import { newIncarnation } from "../shared/contracts/ids.ts";
import type { LiveEntry } from "../shared/events/live.ts";
import { keys } from "../shared/keys.ts";
import { log, messageOf } from "../shared/log.ts";
import { Queue } from "../shared/queue/queue.ts";
import type { RedisCommands } from "../shared/queue/script.ts";
import type { StateStore } from "../shared/store/state.ts";
import { createObjectStore } from "./clients/object-store.ts";
import type { CheckedObjectStore } from "./clients/object-store.ts";
import type { Config } from "./config.ts";
import { Definitions } from "./execution/definitions.ts";
import { createSandbox } from "./engine/sandbox.ts";
import { measureLoopLag, portOf, serveHealth } from "./ops/health.ts";
import type { Health } from "./ops/health.ts";
import { createMetrics } from "./ops/metrics.ts";
import { Journal } from "./journal/journal.ts";
import { Leases } from "./fleet/leases.ts";
import { publishLive } from "./journal/publish.ts";
import { migrate } from "./cli/migrate.ts";
import { createModels } from "./models/create-models.ts";
import { Reconciler } from "./reconciler/reconciler.ts";
import { connectRedis, parseRedisUrl, scriptCommands } from "./clients/redis.ts";
import type { ConnectOptions } from "./clients/redis.ts";
import { isAway } from "./clients/sqlstate.ts";
import { edgeStateStore } from "./clients/http-state.ts";
import { postgresStateStore } from "./clients/postgres-state.ts";
import { createEgress } from "./outbound/egress-guard.ts";
import { createTools } from "./tools/create-tools.ts";
import { Sender } from "./webhooks/sender.ts";
import { wakeOnFlush } from "./webhooks/wake-on-flush.ts";
import { Worker } from "./fleet/worker.ts";

const COMMAND_TIMEOUT_MS = 2_000;
/** Between two attempts to reach a Postgres that is not there when this worker starts. */
const POSTGRES_PAUSE_MS = 2_000;

/** Where a test may stand between a worker and the world: each is given the real thing and answers what is used. */
export type Seams = {
  store?(store: StateStore): StateStore;
  commands?(commands: RedisCommands): RedisCommands;
  show?(show: (entries: LiveEntry[]) => void): (entries: LiveEntry[]) => void;
};

/** A worker out of its parts, serving its health and taking work. @returns how to end it */
export async function startWorker(config: Config, seams: Seams = {}): Promise<{ drain(): Promise<void> }> {
  const owner = newIncarnation(config.workerId);
  const opened = await openStore(config);
  const truth = seams.store?.(opened.store) ?? opened.store;
  const egress = createEgress(config.EGRESS_ALLOW);
  const sender = new Sender(truth, { egress, masterKey: config.MASTER_KEY ?? null });
  const store = wakeOnFlush(truth, () => sender.wake());
  const artifacts = openArtifacts(config);

  const target = parseRedisUrl(config);
  const connect = (purpose: string, options: ConnectOptions = {}) => {
    const connection = connectRedis(target, { connectionName: `${config.workerId}-${purpose}`, ...options });
    connection.on("error", () => {});
    return connection;
  };
  const redis = connect("commands", { commandTimeout: COMMAND_TIMEOUT_MS });
  redis.on("error", (error: Error) => log.warn("redis.error", { message: messageOf(error) }));
  redis.once("ready", () => void warnOfEviction(redis));
  const commands = scriptCommands(redis);
  const queue = new Queue(seams.commands?.(commands) ?? commands, config.QUEUE_SHARDS);
  // A blocked connection serves nothing else, so each shard has one of its own.
  const blocked = Array.from({ length: config.QUEUE_SHARDS }, (_, shard) => connect(`wait-${shard}`));
  // Hints that a run of ours was cancelled; the beat that they cause says which.
  const control = connect("control");
  control.on("ready", () => void control.subscribe(keys.control(owner)).catch(() => {}));
  control.on("message", () => void leases.beatAgain());

  const loopLag = measureLoopLag();
  let draining = false;
  const reconciler = new Reconciler({
    owner,
    store,
    queue,
    isolation: config.ENABLE_TENANT_ISOLATION,
    announceQueue: () => leases.announceQueue(),
  });
  const leases = new Leases({
    owner,
    store,
    queue,
    onCold: () => reconciler.passSoon(),
    onAway: (shard) => worker.loseQueue(shard),
    self: () => ({
      worker_id: config.workerId,
      hostname: hostname(),
      address: `http://${hostname()}:${config.WORKER_HEALTH_PORT}`,
      status: draining ? "draining" : "online",
      lanes: config.WORKER_LANES,
      slots: config.WORKER_CONCURRENCY,
      active: worker.active,
      loop_lag_ms: loopLag(),
      redis_ok: worker.queueReachable,
    }),
  });
  const show = publishLive(redis, config.EVENT_SHARDS);
  const models = createModels(process.env, config.MODEL_TIMEOUT_SECONDS * 1_000);
  const sandbox = createSandbox();
  const worker = new Worker({
    owner,
    slots: config.WORKER_CONCURRENCY,
    lanes: config.WORKER_LANES,
    queue,
    store,
    leases,
    onCold: () => reconciler.passSoon(),
    waitForWork: async (shard, lanes, ms) => {
      // A whole answer in good time even if the connection is half open: the marker is only a hint.
      const markers = lanes.map((lane) => keys.wake(shard, lane));
      const marked = markers.length > 0 ? blocked[shard]?.blpop(markers, ms / 1_000) : sleep(ms);
      await Promise.race([marked, sleep(ms + 1_000, undefined, { ref: false })]);
    },
    world: {
      owner,
      journal: new Journal(owner, store, seams.show?.(show) ?? show),
      definitions: new Definitions(store),
      models,
      tools: createTools(egress, config.TOOL_TIMEOUT_SECONDS * 1_000),
      sandbox,
      artifacts,
      readWaits: store.readWaits,
      confirm: (run, signal) => leases.confirm(run.run_id, signal),
    },
  });

  const startedMs = performance.now();
  const readHealth = async (): Promise<Health> => {
    const [pg, redisOk, s3] = await Promise.all([
      isUp(() => store.readRunSnapshots([])),
      isUp(() => redis.ping()),
      artifacts ? isUp(() => artifacts.check()) : null,
    ]);
    const status = draining ? "draining" : pg && redisOk && s3 !== false ? "ok" : "degraded";
    return {
      status,
      worker_id: config.workerId,
      active_jobs: worker.active,
      max_jobs: config.WORKER_CONCURRENCY,
      uptime: Math.round(performance.now() - startedMs) / 1_000,
      loop_lag_ms: loopLag(),
      pg_connected: pg,
      redis_connected: redisOk,
      s3_connected: s3,
    };
  };
  const metrics = createMetrics({
    store,
    repairs: reconciler.repairs,
    sent: sender.sent,
    lateRuns: () => reconciler.lateRuns,
    active: () => worker.active,
    slots: config.WORKER_CONCURRENCY,
    loopLagMs: measureLoopLag(),
  });
  const health = await serveHealth(config.WORKER_HEALTH_PORT, readHealth, {
    ...metrics,
    token: config.METRICS_TOKEN,
  });

  await leases.beat();
  leases.start();
  reconciler.start();
  worker.start();
  if (config.WORKER_LANES.includes("webhooks")) sender.start();
  log.info("worker.ready", {
    worker: config.workerId,
    incarnation: owner,
    pid: process.pid,
    slots: config.WORKER_CONCURRENCY,
    health_port: portOf(health),
    models: models.describe(),
  });

  const drain = async (): Promise<void> => {
    draining = true;
    log.info("worker.drain_started", { active: worker.active, seconds: config.WORKER_DRAIN_SECONDS });
    void leases.beat();
    const graceMs = config.WORKER_DRAIN_SECONDS * 1_000;
    await Promise.all([worker.drain(graceMs), sender.drain(graceMs)]);
    await reconciler.stop();
    leases.stop();
    health.close();
    for (const connection of [redis, control, ...blocked]) connection.disconnect();
    await Promise.all([sandbox.close(), opened.close()]);
    log.info("worker.stopped", { worker: config.workerId });
  };
  return { drain };
}

/** Postgres itself, brought to the newest schema; or the edge in front of it. */
async function openStore(config: Config): Promise<{ store: StateStore; close(): Promise<void> }> {
  if (config.STATE_URL && config.STATE_SECRET) {
    return { store: edgeStateStore(config.STATE_URL, config.STATE_SECRET), close: async () => {} };
  }
  const url = config.SCALE_POSTGRES_URL ?? "";
  await migrateOnceReached(config.SCALE_POSTGRES_DIRECT_URL ?? url);
  return postgresStateStore(url, config.workerId);
}

/** A worker that starts while Postgres is away waits for it, as one that has started does. */
async function migrateOnceReached(url: string): Promise<void> {
  for (;;) {
    try {
      return await migrate(url);
    } catch (error) {
      if (!isAway(error)) throw error;
      log.warn("worker.postgres_away", { message: messageOf(error) });
      await sleep(POSTGRES_PAUSE_MS);
    }
  }
}

function openArtifacts(config: Config): CheckedObjectStore | null {
  const { S3_BUCKET: bucket, S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: secretAccessKey } = config;
  if (!bucket) return null;
  const credentials = accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined;
  return createObjectStore({ endpoint: config.S3_ENDPOINT, bucket, region: config.S3_REGION, credentials });
}

/** A Redis that evicts keys loses the queue piece by piece: that is noticed and mended, but costs each time. */
async function warnOfEviction(redis: Redis | Cluster): Promise<void> {
  // Where a service does not tell, there is nothing to warn of.
  const reply = await redis.call("CONFIG", "GET", "maxmemory-policy").catch(() => null);
  const policy = Array.isArray(reply) ? String(reply[1]) : "noeviction";
  if (policy !== "noeviction") {
    log.warn("redis.may_evict", { policy, advice: "set maxmemory-policy to noeviction" });
  }
}

async function isUp(ask: () => Promise<unknown>): Promise<boolean> {
  const timeout = new Promise<never>((_, reject) => {
    setTimeout(() => reject(new Error("no answer")), COMMAND_TIMEOUT_MS).unref();
  });
  return Promise.race([ask(), timeout]).then(
    () => true,
    () => false,
  );
}
