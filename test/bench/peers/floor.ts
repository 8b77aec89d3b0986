/**
 * The floor: what this machine does with Redis Streams and group-committed Postgres, without anything that a product needs besides. A
 * job is acknowledged when its row is committed, its name is then added to a stream, and each step's result is committed before the
 * next step begins. All rows that are pending at one moment share a statement.
 */
import { Redis } from "ioredis";
import postgres from "postgres";
import { z } from "zod";
import { connectionOptions, pgArray } from "../../../shared/store/sql.ts";
import { stepsOf } from "./peer.ts";
import type { Participant } from "./peer.ts";
import { queuePeer } from "./queue-peer.ts";
import type { Work } from "./work.ts";

const STREAM = "floor";
const GROUP = "workers";
const BATCH = 100;
const BLOCK_MS = 1_000;
const BODY = "x".repeat(500);
const JobText = z.object({ id: z.string(), kind: z.enum(["one", "five"]) });

export const floor: Participant = {
  name: "floor",
  version: "",
  async start(setting) {
    const sql = postgres(setting.place.postgresUrl, { ...connectionOptions, max: 2 });
    const redis = new Redis(setting.place.redisUrl, { protocol: 2 });
    await sql`create table floor_jobs (id text primary key, body text)`;
    await sql`create table floor_steps (id text, step int, body text, primary key (id, step))`;
    await redis.xgroup("CREATE", STREAM, GROUP, "$", "MKSTREAM");
    const jobs = new GroupCommit<string>(
      (ids) => sql`insert into floor_jobs select id, ${BODY} from unnest(${pgArray(ids)}::text[]) id`,
    );
    return queuePeer("floor", setting, {
      async submit(job) {
        await jobs.add(job.id);
        redis.xadd(STREAM, "*", "job", JSON.stringify(job)).catch((error: unknown) => {
          console.error("floor:", error);
        });
      },
      async stop() {
        redis.disconnect();
        await sql.end({ timeout: 1 });
      },
    });
  },
};

export const work: Work = async (bench) => {
  const sql = postgres(bench.place.postgresUrl, { ...connectionOptions, max: 2 });
  const [reader, redis] = [bench.place.redisUrl, bench.place.redisUrl].map(
    (url) => new Redis(url, { protocol: 2 }),
  );
  if (!reader || !redis) throw new Error("two connections are needed");
  const results = new GroupCommit<{ id: string; step: number }>(
    (rows) => sql`
      insert into floor_steps select id, step, ${BODY}
      from unnest(${pgArray(rows.map(({ id }) => id))}::text[], ${pgArray(rows.map(({ step }) => step))}::int[]) as rows (id, step)`,
  );
  const execute = async (entry: string, text: string): Promise<void> => {
    const job = JobText.parse(JSON.parse(text));
    bench.claimed(job);
    for (let step = 1; step <= stepsOf(job); step++) {
      await bench.step(job, step);
      await results.add({ id: job.id, step });
    }
    bench.ended(job);
    await redis.xack(STREAM, GROUP, entry);
  };
  const end = new AbortController();
  const running = new Set<Promise<void>>();
  const read = async (): Promise<void> => {
    while (!end.signal.aborted) {
      const reply = await reader.xreadgroup(
        "GROUP",
        GROUP,
        "worker",
        "COUNT",
        BATCH,
        "BLOCK",
        BLOCK_MS,
        "STREAMS",
        STREAM,
        ">",
      );
      for (const [entry, text] of entriesOf(reply)) {
        const done = execute(entry, text).finally(() => running.delete(done));
        running.add(done);
      }
      while (running.size >= 2 * BATCH) await Promise.race(running);
    }
  };
  const reading = read();
  return {
    async stop() {
      end.abort();
      await reading;
      await Promise.all(running);
      reader.disconnect();
      redis.disconnect();
      await sql.end({ timeout: 1 });
    },
  };
};

const Reply = z.array(z.tuple([z.string(), z.array(z.tuple([z.string(), z.array(z.string())]))])).nullable();

function entriesOf(reply: unknown): [entry: string, job: string][] {
  const [stream] = Reply.parse(reply) ?? [];
  return (stream?.[1] ?? []).map(([entry, fields]) => [entry, fields[1] ?? ""]);
}

/** Items that arrive while a statement is under way share the next one. */
class GroupCommit<Item> {
  readonly #commit: (items: Item[]) => PromiseLike<unknown>;
  #pending: { item: Item; resolve: () => void; reject: (error: unknown) => void }[] = [];
  #isCommitting = false;

  constructor(commit: (items: Item[]) => PromiseLike<unknown>) {
    this.#commit = commit;
  }

  /** @returns when the item is committed */
  add(item: Item): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#pending.push({ item, resolve, reject });
    if (!this.#isCommitting) void this.#commitAll();
    return promise;
  }

  async #commitAll(): Promise<void> {
    this.#isCommitting = true;
    while (this.#pending.length > 0) {
      const batch = this.#pending.splice(0);
      try {
        await this.#commit(batch.map(({ item }) => item));
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#isCommitting = false;
  }
}
