/**
 * pg-boss: jobs in Postgres. As its documentation advises for speed (https://pgboss.io/api/workers): workers fetch and complete batches,
 * LISTEN/NOTIFY wakes them, and while batches are full they do not wait. A step is a job: the handler inserts the jobs of the next
 * steps before its own are completed, so a crash may repeat a step.
 */
import { z } from "zod";
import { exported, importPeer, VERSIONS } from "./packages.ts";
import { stepsOf } from "./peer.ts";
import type { Job, Participant } from "./peer.ts";
import { queuePeer } from "./queue-peer.ts";
import type { Work } from "./work.ts";

const QUEUE = "bench";

type Data = Job & { step: number };
type Boss = {
  on(event: "error", listener: (error: Error) => void): unknown;
  start(): Promise<unknown>;
  stop(): Promise<void>;
  createQueue(name: string, options: { notify: boolean }): Promise<void>;
  send(name: string, data: Data): Promise<string | null>;
  insert(name: string, jobs: { data: Data }[]): Promise<unknown>;
  work(
    name: string,
    options: {
      batchSize: number;
      localConcurrency: number;
      pollingIntervalSeconds: number;
      burstWhenBatchFull: boolean;
    },
    handler: (jobs: { data: Data }[]) => Promise<void>,
  ): Promise<string>;
};
type Options = { connectionString: string; max: number; useListenNotify: boolean };
const Exports = z.object({ PgBoss: exported<new (options: Options) => Boss>() });

async function startBoss(connectionString: string): Promise<Boss> {
  const { PgBoss } = await importPeer("pg-boss", Exports);
  const boss = new PgBoss({ connectionString, max: 20, useListenNotify: true });
  boss.on("error", (error) => console.error("pg-boss:", error));
  await boss.start();
  return boss;
}

export const pgBoss: Participant = {
  name: "pg-boss",
  version: VERSIONS["pg-boss"],
  async start(setting) {
    const boss = await startBoss(setting.place.postgresUrl);
    await boss.createQueue(QUEUE, { notify: true });
    return queuePeer("pg-boss", setting, {
      async submit(job) {
        if ((await boss.send(QUEUE, { ...job, step: 1 })) === null) throw new Error("pg-boss refused a job");
      },
      stop: () => boss.stop(),
    });
  },
};

export const work: Work = async (bench) => {
  const boss = await startBoss(bench.place.postgresUrl);
  const options = {
    batchSize: 100,
    localConcurrency: 4,
    pollingIntervalSeconds: 0.5,
    burstWhenBatchFull: true,
  };
  await boss.work(QUEUE, options, async (jobs) => {
    await Promise.all(
      jobs.map(({ data }) => {
        bench.claimed(data);
        return bench.step(data, data.step);
      }),
    );
    const next = jobs.filter(({ data }) => data.step < stepsOf(data));
    if (next.length > 0)
      await boss.insert(
        QUEUE,
        next.map(({ data }) => ({ data: { ...data, step: data.step + 1 } })),
      );
    // The end of the handler: pg-boss has no event after it has stored the completion.
    for (const { data } of jobs) if (data.step === stepsOf(data)) bench.ended(data);
  });
  return { stop: () => boss.stop() };
};
