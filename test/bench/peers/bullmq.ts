/**
 * BullMQ: jobs in Redis alone. As its documentation advises: a worker with a concurrency for jobs that wait for others
 * (https://docs.bullmq.io/guide/workers/concurrency), completed jobs are removed (.../queues/auto-removal-of-jobs), and a job of several
 * steps stores its step with `updateData` (https://docs.bullmq.io/patterns/process-step-jobs).
 */
import { z } from "zod";
import { exported, importPeer, VERSIONS } from "./packages.ts";
import { stepsOf } from "./peer.ts";
import type { Job, Participant } from "./peer.ts";
import { queuePeer } from "./queue-peer.ts";
import type { Work } from "./work.ts";

const QUEUE = "bench";
const CONCURRENCY = 100;

type Connection = { host: string; port: number; maxRetriesPerRequest: null };
type Data = Job & { done: number };
type BullJob = { data: Data; updateData(data: Data): Promise<void> };
type Queue = {
  add(name: string, data: Data, options: { jobId: string; removeOnComplete: boolean }): Promise<unknown>;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
};
type Worker = {
  on(event: "completed", listener: (job: BullJob) => void): unknown;
  waitUntilReady(): Promise<unknown>;
  close(): Promise<void>;
};
const Exports = z.object({
  Queue: exported<new (name: string, options: { connection: Connection }) => Queue>(),
  Worker:
    exported<
      new (
        name: string,
        handler: (job: BullJob) => Promise<void>,
        options: { connection: Connection; concurrency: number },
      ) => Worker
    >(),
});

export const bullmq: Participant = {
  name: "BullMQ",
  version: VERSIONS.bullmq,
  async start(setting) {
    const bull = await importPeer("bullmq", Exports);
    const queue = new bull.Queue(QUEUE, { connection: connectionOf(setting.place.redisUrl) });
    await queue.waitUntilReady();
    return queuePeer("bullmq", setting, {
      async submit(job) {
        await queue.add("job", { ...job, done: 0 }, { jobId: job.id, removeOnComplete: true });
      },
      stop: () => queue.close(),
    });
  },
};

export const work: Work = async (bench) => {
  const bull = await importPeer("bullmq", Exports);
  const handle = async (job: BullJob): Promise<void> => {
    bench.claimed(job.data);
    for (let step = job.data.done + 1; step <= stepsOf(job.data); step++) {
      await bench.step(job.data, step);
      // The result of the last step is stored by the job's end.
      if (step < stepsOf(job.data)) await job.updateData({ ...job.data, done: step });
    }
  };
  const connection = connectionOf(bench.place.redisUrl);
  const worker = new bull.Worker(QUEUE, handle, { connection, concurrency: CONCURRENCY });
  worker.on("completed", (job) => bench.ended(job.data));
  await worker.waitUntilReady();
  return { stop: () => worker.close() };
};

function connectionOf(url: string): Connection {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port), maxRetriesPerRequest: null };
}
