import { DurableObject } from "cloudflare:workers";
import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import { ACCEPT_MS } from "../../shared/timing.ts";
import { DatabasePool } from "../clients/database-pool.ts";
import { openDirectRedis } from "../clients/direct-socket.ts";
import { keptCommands } from "../clients/kept-redis.ts";
import { KEPT_REDIS } from "../clients/redis-settings.ts";
import { liveValuesOf } from "../clients/live-values.ts";
import { restCommands } from "../clients/redis.ts";
import { EdgeQueue } from "../runs/admit.ts";
import type { CountsRecord } from "../runs/admit.ts";
import { readConfig } from "../env.ts";
import type { Env, IntakeObject } from "../env.ts";
import { submit } from "../runs/submit.ts";
import type { SubmitDeps } from "../runs/submit.ts";
import { FairQueue } from "../clients/fair-queue.ts";
import type { Sized } from "../clients/fair-queue.ts";
import { inQuerySpan } from "../clients/sql-span.ts";
import { inBatchSpans } from "./traced-batch.ts";
import { sizeClassOf, sizeOf } from "./submit-to-intake.ts";
import type { SizeClass } from "./submit-to-intake.ts";

/** A batch of small runs and a batch of large runs need one connection each; queries about refused runs (replays, limits) a third. */
const CONNECTIONS = 3;

/** The prefix of a key in the object's storage. With the number of a queue shard after it, it records that the shard's counts hold. */
const COUNTS_HOLD = "counts_hold:";

/**
 * The intake of one queue shard. It stores no run. It exists because a request cannot have lasting connections to Postgres. The
 * runtime ends an object that has been idle for 10 s, so the record that the counts hold is in its storage. Otherwise the queue would
 * be counted anew after each pause, and Postgres would count each run of the 12 s after it.
 */
export class IntakeShard extends DurableObject<Env> implements IntakeObject {
  readonly #batchers: Record<SizeClass, Batcher<NewRun, SubmitResult>>;
  readonly #refresh: () => Promise<void>;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const base = readConfig(env);
    const live = liveValuesOf(base);
    const database = new DatabasePool(env, CONNECTIONS, ACCEPT_MS);
    const redis = keptCommands(() => openDirectRedis(base.REDIS_URL, KEPT_REDIS), restCommands(base));
    const queue = new EdgeQueue(base, countsRecordIn(ctx.storage), redis);
    if (base.ACCEPT_WHEN_REDIS_DOWN) {
      void ctx.blockConcurrencyWhile(async () => {
        const records = await ctx.storage.list({ prefix: COUNTS_HOLD });
        const shards = Array.from(records.keys(), (key) => Number(key.slice(COUNTS_HOLD.length)));
        queue.invalidateAllCounts(new Set(shards));
      });
    }
    this.#refresh = () =>
      live.refresh(
        (run) => database.query(run),
        null,
        (work) => ctx.waitUntil(work),
      );
    const deps: SubmitDeps = {
      get config() {
        return live.config;
      },
      queue,
      query: (run) => database.query((sql) => inQuerySpan(sql, run)),
      waitUntil: (work) => ctx.waitUntil(work),
    };
    this.#batchers = { small: batchSubmits(deps), large: batchSubmits(deps) };
  }

  /** Requests call it over RPC. The results are in the order of the runs. */
  async submit(runs: NewRun[]): Promise<SubmitResult[]> {
    await this.#refresh();
    return Promise.all(runs.map((run) => this.#batchers[sizeClassOf(run)].add(run)));
  }
}

function countsRecordIn(storage: DurableObjectStorage): CountsRecord {
  return {
    set: (shard) => void storage.put(`${COUNTS_HOLD}${shard}`, true),
    async clear(shard) {
      await storage.delete(`${COUNTS_HOLD}${shard}`);
      await storage.sync();
    },
  };
}

const OVERLOADED: SubmitResult = {
  is: "refused",
  code: "capacity",
  detail: "Too many requests arrive at once; try again in a moment.",
  retryAfterSeconds: 2,
};

/**
 * Batches the runs that many requests submit at the same time: they share one `admit`, one INSERT with its commit and
 * one `enqueue`. Measured (64 clients, Miniflare, a loaded machine of two cores): 550 runs a second, against 80 with one
 * connection to Postgres for each request.
 *
 * It stores no run: when its process ends, the requests under way fail as they would without it.
 */
export function batchSubmits(deps: SubmitDeps): Batcher<NewRun, SubmitResult> {
  const handle = (runs: readonly NewRun[]) =>
    inBatchSpans(deps.config, runs, deps.waitUntil, (some) => submit(deps, some));
  return new Batcher({ handle, sizeOf, overflow: OVERLOADED });
}

type Pending<Item, Result> = Sized & {
  item: Item;
  resolve(result: Result): void;
  reject(error: unknown): void;
};

type BatcherOptions<Item, Result> = {
  /** Returns the result of each item of a batch, in order. */
  handle(items: Item[]): Promise<Result[]>;
  sizeOf(item: Item): Sized;
  /** The result of an item for which FairQueue has no room. */
  overflow: Result;
};

/**
 * Handles items in batches, one batch at a time: items that arrive during a batch form the next. No item waits for
 * others to join it: when no batch is under way, an item is handled immediately and alone.
 *
 * Tried and given up: two batches at the same time, one admitted while the other is committed. Each batch then had half as many
 * items, which at 1,000 requests/s cost 40 % more processor time of all processes (1.2 against 0.85 ms a request). A pause between
 * batches gained nothing.
 */
export class Batcher<Item, Result> {
  readonly #options: BatcherOptions<Item, Result>;
  readonly #waiting = new FairQueue<Pending<Item, Result>>();
  #isRunning = false;

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options;
  }

  async add(item: Item): Promise<Result> {
    const { sizeOf: size, overflow } = this.#options;
    return new Promise((resolve, reject) => {
      if (!this.#waiting.add({ item, resolve, reject, ...size(item) })) resolve(overflow);
      else if (!this.#isRunning) void this.#runAll();
    });
  }

  async #runAll(): Promise<void> {
    this.#isRunning = true;
    // Items that arrive in this turn of the event loop join the first batch.
    await Promise.resolve();
    while (this.#waiting.size > 0) await this.#runBatch(this.#waiting.takeBatch());
    this.#isRunning = false;
  }

  async #runBatch(batch: readonly Pending<Item, Result>[]): Promise<void> {
    try {
      const results = await this.#options.handle(batch.map(({ item }) => item));
      for (const [i, { resolve, reject }] of batch.entries()) {
        const result = results[i];
        if (result === undefined) reject(new Error("an item of the batch has no result"));
        else resolve(result);
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  }
}
