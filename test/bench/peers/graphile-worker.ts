/**
 * Graphile Worker: jobs in Postgres. Its settings are those with which its documentation measures
 * (https://worker.graphile.org/docs/performance): 24 jobs at once, a local queue that fetches 500, completions that share a statement
 * without a delay. A step is a job: the task adds the next step's job before its own is completed, so a crash may repeat a step.
 */
import { EventEmitter } from "node:events";
import { z } from "zod";
import { exported, importPeer, VERSIONS } from "./packages.ts";
import { stepsOf } from "./peer.ts";
import type { Participant } from "./peer.ts";
import { queuePeer } from "./queue-peer.ts";
import type { Work } from "./work.ts";

const TASK = "bench";
const CONCURRENCY = 24;
const LOCAL_QUEUE = 500;

const Data = z.object({ id: z.string(), kind: z.enum(["one", "five"]), step: z.number() });
type AddJob = (task: string, payload: z.infer<typeof Data>) => Promise<unknown>;
type Preset = {
  worker: {
    connectionString: string;
    concurrentJobs?: number;
    maxPoolSize: number;
    logger: unknown;
    localQueue?: { size: number };
    completeJobBatchDelay?: number;
    failJobBatchDelay?: number;
  };
};
type Run = (options: {
  preset: Preset;
  events: EventEmitter;
  taskList: Record<string, (payload: unknown, helpers: { addJob: AddJob }) => Promise<void>>;
}) => Promise<{ stop(): Promise<void> }>;
type MakeUtils = (options: {
  preset: Preset;
}) => Promise<{ migrate(): Promise<void>; addJob: AddJob; release(): Promise<void> }>;
type Log = (level: string, message: string) => void;
const Exports = z.object({
  run: exported<Run>(),
  makeWorkerUtils: exported<MakeUtils>(),
  Logger: exported<new (factory: () => Log) => unknown>(),
});
const Completed = z.object({ job: z.object({ payload: Data }), error: z.null().optional() });

export const graphileWorker: Participant = {
  name: "Graphile Worker",
  version: VERSIONS["graphile-worker"],
  async start(setting) {
    const graphile = await importPeer("graphile-worker", Exports);
    const { postgresUrl: connectionString } = setting.place;
    const worker = { connectionString, maxPoolSize: CONCURRENCY + 1, logger: errorsOnly(graphile) };
    const utils = await graphile.makeWorkerUtils({ preset: { worker } });
    await utils.migrate();
    return queuePeer("graphile-worker", setting, {
      async submit(job) {
        await utils.addJob(TASK, { ...job, step: 1 });
      },
      stop: () => utils.release(),
    });
  },
};

export const work: Work = async (bench) => {
  const graphile = await importPeer("graphile-worker", Exports);
  const events = new EventEmitter();
  events.on("job:complete", (event: unknown) => {
    const { payload } = Completed.parse(event).job;
    if (payload.step === stepsOf(payload)) bench.ended(payload);
  });
  const runner = await graphile.run({
    preset: {
      worker: {
        connectionString: bench.place.postgresUrl,
        concurrentJobs: CONCURRENCY,
        maxPoolSize: CONCURRENCY + 1,
        logger: errorsOnly(graphile),
        localQueue: { size: LOCAL_QUEUE },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    events,
    taskList: {
      async [TASK](payload, { addJob }) {
        const job = Data.parse(payload);
        bench.claimed(job);
        await bench.step(job, job.step);
        if (job.step < stepsOf(job)) await addJob(TASK, { ...job, step: job.step + 1 });
      },
    },
  });
  return { stop: () => runner.stop() };
};

/** By default it logs each job that ends. */
function errorsOnly({ Logger }: z.infer<typeof Exports>): unknown {
  return new Logger(() => (level, message) => {
    if (level === "error") console.error("graphile-worker:", message);
  });
}
