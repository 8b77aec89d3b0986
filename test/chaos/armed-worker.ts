/** The product's worker, which kills itself at each call to a store that is an armed point of points.ts. */
import { z } from "zod";
import { log, messageOf } from "../../shared/log.ts";
import type { RedisCommands } from "../../shared/queue/scripts.ts";
import { scripts } from "../../shared/queue/scripts.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { readConfig } from "../../worker-node/config.ts";
import { startWorker } from "../../worker-node/start.ts";
import type { TestHooks } from "../../worker-node/open-worker.ts";
import { POINTS_FOLDER, takePoint } from "./points.ts";
import type { WorkerPoint } from "./points.ts";

const folder = z.string().min(1).parse(process.env[POINTS_FOLDER]);
const dieAt = (point: WorkerPoint): void => {
  if (takePoint(folder, point)) process.kill(process.pid, "SIGKILL");
};

/** Runs that this process has parked or handed back and not released yet, each with the point of its release. */
const unreleased = new Map<string, WorkerPoint>();

const hooks: TestHooks = {
  publish: (publish) => (entries) => {
    dieAt("committed_unpublished");
    publish(entries);
  },
  store: (store): StateStore => ({
    ...store,
    async claim(...args) {
      const runs = await store.claim(...args);
      if (runs.length > 0) dieAt("claimed_in_postgres");
      return runs;
    },
    async claimDirectly(...args) {
      const runs = await store.claimDirectly(...args);
      if (runs.length > 0) dieAt("claimed_directly");
      return runs;
    },
    async flush(entries) {
      dieAt("before_flush");
      const committed = await store.flush(entries);
      if (committed.length === 0) return committed;
      const committedRuns = new Set(committed.map(({ run_id }) => run_id));
      if (entries.some(({ run_id, kind }) => kind === "turn" && committedRuns.has(run_id)))
        dieAt("turn_committed");
      for (const { run_id, kind } of entries) {
        if (kind === "park" && committedRuns.has(run_id)) unreleased.set(run_id, "parked_unreleased");
      }
      dieAt("committed_reply_lost");
      return committed;
    },
    async handBack(...args) {
      dieAt("drained_unreturned");
      const runs = await store.handBack(...args);
      for (const run of runs) unreleased.set(run, "handed_back_unreleased");
      return runs;
    },
    async beat(...args) {
      const reply = await store.beat(...args);
      if (reply.owned.length > 0) dieAt("beat");
      return reply;
    },
    async claimDeliveries(...args) {
      const claimed = await store.claimDeliveries(...args);
      if (claimed.deliveries.length > 0) dieAt("delivery_claimed");
      return claimed;
    },
    async saveDeliveryTry(result) {
      if (result.outcome === "delivered") dieAt("delivery_unsaved");
      return store.saveDeliveryTry(result);
    },
    async listDueRuns(...args) {
      const page = await store.listDueRuns(...args);
      if (page.length > 0) dieAt("scan_page");
      return page;
    },
  }),
  commands: (commands) => {
    const shas = Promise.all(
      Object.entries(scripts).map(async ([verb, { sha }]): Promise<[string, string]> => [await sha, verb]),
    );
    const bySource = new Map(Object.entries(scripts).map(([verb, { source }]) => [source, verb]));
    const around: (
      verb: string | undefined,
      args: string[],
      send: () => Promise<unknown>,
    ) => Promise<unknown> = async (verb, args, send) => {
      before(verb, args);
      const reply = await send();
      after(verb, reply);
      return reply;
    };
    const armed: RedisCommands = {
      evalsha: async (sha, keys, args, verb) =>
        around(new Map(await shas).get(sha), args, () => commands.evalsha(sha, keys, args, verb)),
      eval: (script, keys, args, verb) =>
        around(bySource.get(script), args, () => commands.eval(script, keys, args, verb)),
    };
    return armed;
  },
};

/** `args` as queue.ts passes them: `args[3]` of a claim is the number of ended runs; the `args` of a release contain its runs. */
function before(verb: string | undefined, args: string[]): void {
  if (verb === "finish" || (verb === "claim" && Number(args[3]) > 0)) dieAt("ended_unfinished");
  if (verb === "index" && args[0] === "begin") dieAt("rebuild_unbegun");
  if (verb === "index" && args[0] === "scan") dieAt("scan_enqueued");
  if (verb !== "release") return;
  for (const arg of args) {
    const point = unreleased.get(arg);
    if (point) dieAt(point);
    unreleased.delete(arg);
  }
}

function after(verb: string | undefined, reply: unknown): void {
  if (verb === "claim" && Array.isArray(reply) && reply.length > 1) dieAt("claimed_in_redis");
  if (verb === "renew" && Array.isArray(reply)) dieAt("renewed");
  if (verb === "reset") dieAt("rebuild_reset");
}

function untilSignalled(): Promise<void> {
  return new Promise((resolve) => {
    process.once("SIGTERM", () => resolve());
  });
}

try {
  const signalled = untilSignalled();
  const worker = await startWorker(readConfig(process.env), hooks);
  await signalled;
  await worker.drain();
  process.exit(0);
} catch (error) {
  log.error("worker.failed", { message: messageOf(error) });
  log.flush();
  process.exit(1);
}
