import type { Server } from "node:http";
import type { StateStore } from "../../shared/store/state.ts";
import type { CheckedObjectStore } from "../clients/s3-object-store.ts";
import type { WorkerRedis } from "../clients/worker-redis.ts";
import type { Config } from "../config.ts";
import type { FleetMember } from "../fleet-member.ts";
import type { LiveSettings } from "../fleet/live-settings.ts";
import type { Slots } from "../fleet/slots.ts";
import type { WebhookSender } from "../webhooks/webhook-sender.ts";
import { serveHealth } from "./health-server.ts";
import { createMetrics } from "./metrics.ts";
import { readHealth } from "./read-health.ts";
import type { Health } from "./read-health.ts";
import type { WorkerStatus } from "./worker-status.ts";

/** What a worker's health is read from. */
type HealthSources = {
  store: StateStore;
  redis: WorkerRedis;
  artifacts: () => CheckedObjectStore | null;
  status: WorkerStatus;
};

/** Reads a worker's health: one request to each of its stores. */
export function healthReader({ store, redis, artifacts, status }: HealthSources): () => Promise<Health> {
  return () => {
    const objects = artifacts();
    return readHealth(status, {
      postgres: () => store.readRunSnapshots([]),
      redis: redis.check,
      objectStore: objects && (() => objects.check()),
    });
  };
}

/** Serves a worker's health and metrics. @returns the server, listening */
export async function serveOps(deps: {
  config: Config;
  settings: Pick<LiveSettings, "metricsToken">;
  store: StateStore;
  health: () => Promise<Health>;
  slots: Slots;
  status: WorkerStatus;
  member: FleetMember;
  webhookSender: WebhookSender;
}): Promise<Server> {
  const { config, settings, store, health, slots, status, webhookSender } = deps;
  const { reconciler } = deps.member;
  const metrics = createMetrics({
    store,
    repairs: reconciler.repairs,
    sent: webhookSender.sent,
    lateRuns: () => reconciler.lateRuns,
    active: () => slots.active,
    slots: slots.openTotal,
    loopLagMs: status.loopLag.reader(),
  });
  return serveHealth(config.WORKER_HEALTH_PORT, health, { ...metrics, token: settings.metricsToken });
}
