/** The two stores of a chaos run, each on a port that it keeps over restarts. */
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { startPostgres } from "../../local/stores/postgres.ts";
import type { Service } from "../../local/processes/child.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";

/** A Postgres that faults restart or crash. */
export class PostgresStore {
  readonly #dir: string;
  #service: Service;

  static async start(dir: string): Promise<PostgresStore> {
    return new PostgresStore(dir, await startPostgres({ dir }));
  }

  private constructor(dir: string, service: Service) {
    this.#dir = dir;
    this.#service = service;
  }

  get url(): string {
    return this.#service.url;
  }

  get port(): number {
    return this.#service.port;
  }

  get pid(): number {
    return pidOf(this.#service);
  }

  /** Stops Postgres, and starts it again after `downMs`. `crash`: without a shutdown, so that Postgres recovers from its log. */
  async restart(downMs: number, crash: boolean): Promise<void> {
    if (crash && this.#service.pid !== null) process.kill(this.#service.pid, "SIGQUIT");
    await this.#service.stop();
    await sleep(downMs);
    const { port } = this.#service;
    this.#service = await startPostgres({ dir: this.#dir, port });
    if (this.#service.port !== port)
      throw new Error(`port ${port} of Postgres was taken by another program meanwhile`);
  }

  stop(): Promise<void> {
    return this.#service.stop();
  }
}

/** What Redis holds after a restart: all of its data, nothing, or the data of an earlier copy. */
export type Memory = "kept" | "lost" | "older";

/** A Redis without an append-only file: after a restart it holds the dump in its folder, or nothing. */
export class RedisStore {
  readonly #dir: string;
  readonly #url: string;
  #service: Service;
  readonly #client: Redis;

  static async start(dir: string): Promise<RedisStore> {
    return new RedisStore(dir, await startRedis({ dir, port: 0, args: inMemory }));
  }

  private constructor(dir: string, service: Service) {
    this.#dir = dir;
    this.#service = service;
    this.#url = service.url;
    this.#client = connect(service.url);
  }

  get url(): string {
    return this.#url;
  }

  get port(): number {
    return this.#service.port;
  }

  get pid(): number {
    return pidOf(this.#service);
  }

  /** A connection that passes no link. Its commands are rejected while Redis is away. */
  get client(): Redis {
    return this.#client;
  }

  /** Copies the data, for a later `restart(…, "older")`. */
  async copy(): Promise<void> {
    await this.#client.save();
    copyFileSync(this.#dump, `${this.#dump}.older`);
    rmSync(this.#dump);
  }

  async restart(downMs: number, memory: Memory): Promise<void> {
    // One command saves all data and ends Redis, so that no lease and no reservation is lost. It has no reply.
    if (memory === "kept") await this.#client.call("SHUTDOWN", "SAVE").catch(() => {});
    else if (this.#service.pid !== null) process.kill(this.#service.pid, "SIGKILL");
    await this.#service.stop();
    if (memory === "older") copyFileSync(`${this.#dump}.older`, this.#dump);
    await sleep(downMs);
    const { port } = this.#service;
    this.#service = await startRedis({ dir: this.#dir, port, args: inMemory });
    if (this.#service.port !== port)
      throw new Error(`port ${port} of Redis was taken by another program meanwhile`);
    rmSync(this.#dump, { force: true });
    for (let tries = 0; this.#client.status !== "ready"; tries++) {
      if (tries > 600) throw new Error("the test's own connection to Redis did not come back");
      await sleep(50);
    }
  }

  async stop(): Promise<void> {
    this.#client.disconnect();
    await this.#service.stop();
  }

  get #dump(): string {
    return join(this.#dir, "dump.rdb");
  }
}

function pidOf({ pid }: Service): number {
  if (pid === null) throw new Error("the store has no process: it is down");
  return pid;
}

function connect(url: string): Redis {
  const redis = new Redis(url, {
    protocol: 2,
    maxRetriesPerRequest: 0,
    commandTimeout: 5_000,
    retryStrategy: () => 100,
  });
  redis.on("error", () => {}); // The fault has stopped Redis: its connection errors are expected.
  return redis;
}
