import { masterKeysOf } from "../shared/security/master-keys.ts";
import { newIncarnation } from "../shared/contracts/ids.ts";
import type { RunId } from "../shared/contracts/ids.ts";
import type { ReadRange } from "../shared/archive/read-archive.ts";
import type { LiveEntry } from "../shared/events/live.ts";
import { ProviderCalls } from "../shared/providers/provider-calls.ts";
import { Queue } from "../shared/queue/queue.ts";
import type { RedisCommands } from "../shared/queue/scripts.ts";
import type { StateStore } from "../shared/store/state.ts";
import { openObjectStore } from "./clients/s3-object-store.ts";
import { LiveObjectStore } from "./clients/live-object-store.ts";
import { openStore } from "./clients/open-store.ts";
import { publishLive } from "./clients/publish.ts";
import { scriptCommands } from "./clients/redis.ts";
import { openWorkerRedis } from "./clients/worker-redis.ts";
import type { Config } from "./config.ts";
import { openExecution } from "./execution/open-execution.ts";
import { childStarts, notifiedOf } from "./fleet/child-starts.ts";
import { enqueueSuccessors } from "./fleet/enqueue-successors.ts";
import { LiveSettings } from "./fleet/live-settings.ts";
import { LiveLaneSettings } from "./fleet/live-lane-settings.ts";
import { withFlushListener } from "./fleet/flush-listener.ts";
import { Counters } from "./ops/counters.ts";
import { createEgress } from "./outbound/egress-guard.ts";
import { LiveTracing } from "./tracing/tracing.ts";
import { MailSender } from "./mail/mail-sender.ts";
import type { MailSettings } from "./mail/mail-transport.ts";
import type { NewMail } from "../shared/contracts/mail.ts";
import { WebhookSender } from "./webhooks/webhook-sender.ts";

/** Test hooks between a worker and its stores: each function gets the real part and returns the part that the worker uses. */
export type TestHooks = {
  store?(store: StateStore): StateStore;
  commands?(commands: RedisCommands): RedisCommands;
  publish?(publish: (entries: LiveEntry[]) => void): (entries: LiveEntry[]) => void;
};

/**
 * Opens the stores of a worker, and what executes runs on them. Nothing runs yet. The caller calls `close` after everything has stopped.
 */
export async function openWorker(config: Config, hooks: TestHooks) {
  const owner = newIncarnation(config.workerId);
  const tracing = new LiveTracing(config, owner);
  const objects = new LiveObjectStore(openObjectStore(config));
  const settings: LiveSettings = new LiveSettings(config, async () => {
    objects.use(settings.s3Bucket);
    await tracing.use(settings.otlpEndpoint);
  });
  await tracing.use(settings.otlpEndpoint);
  const opened = await openStore(config, tracing.current);
  const rawStore = hooks.store?.(opened.store) ?? opened.store;
  const egress = createEgress(config.EGRESS_ALLOW);
  const laneSettings = new LiveLaneSettings();
  const masterKey = masterKeysOf(config) ?? null;
  const tracer = () => tracing.current()?.tracer ?? null;
  const artifacts = objects.current;
  const readArchive: ReadRange = (...range) => (artifacts()?.readRange ?? noArchive)(...range);
  const webhookSender = new WebhookSender(rawStore, {
    egress,
    masterKey,
    readArchive,
    laneSettings: laneSettings.of,
    tracer,
  });
  const counters = new Counters();
  const mailServers = { settings: mailOf(config), egress, masterKey };
  const mailSender = new MailSender({
    store: rawStore,
    laneSettings: laneSettings.of,
    count: counters,
    ...mailServers,
  });
  const redis = openWorkerRedis(config, owner);
  const scripts = scriptCommands(redis.commands, tracing.current);
  const commands = hooks.commands?.(scripts) ?? scripts;
  const queue = new Queue(commands, config.QUEUE_SHARDS);
  const providerCalls = new ProviderCalls(commands);
  const children = childStarts({
    queue,
    maxDepth: () => settings.maxShardDepth(config.QUEUE_SHARDS),
    isolation: config.ENABLE_TENANT_ISOLATION,
    hint: redis.hint,
  });
  const store = withFlushListener(rawStore, (committed) => {
    if (committed.some(({ webhook }) => webhook)) webhookSender.wake();
    children.notify(notifiedOf(committed));
    enqueueSuccessors(rawStore, queue, committed);
  });
  const live = publishLive(redis.commands, config.EVENT_SHARDS, tracing.current);
  const publish = hooks.publish?.(live) ?? live;
  const parts = {
    owner,
    config,
    store,
    artifacts,
    egress,
    publish,
    children,
    providerCalls,
    count: counters,
    tracing: tracing.current,
    mail: {
      senderOf: async (run: RunId) => mailServers.settings?.from ?? store.readMailSender(run),
      queue: async (mail: NewMail) => {
        const isQueued = await store.queueMail(mail);
        mailSender.wake();
        return isQueued;
      },
    },
  };
  const execution = openExecution(parts);
  const close = async (): Promise<void> => {
    redis.close();
    await Promise.all([execution.close(), opened.close()]);
    await tracing.close();
  };
  const shared = {
    owner,
    store,
    queue,
    redis,
    objects,
    laneSettings,
    settings,
    counters,
    execution,
    tracer,
  };
  return { ...shared, webhookSender, mailSender, mailServers, close };
}

/** Null: this worker has no mail server. */
function mailOf({ SMTP_URL: url, SMTP_FROM: from }: Config): MailSettings | null {
  return url === undefined || from === undefined ? null : { url, from };
}

/** @throws Error: a worker without an object store leaves a delivery of an archived run to a worker that has one */
async function noArchive(): Promise<never> {
  throw new Error("there is no S3_BUCKET: this worker cannot read archived journals");
}
