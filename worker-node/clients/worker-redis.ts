import { setTimeout as sleep } from "node:timers/promises";
import type { Cluster, Redis } from "ioredis";
import type { Incarnation } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { healthQuestionOf, keys, mailQuestionOf } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import type { Config } from "../config.ts";
import { parseRedisUrl } from "./redis-url.ts";
import { connectRedis } from "./redis.ts";
import type { ConnectOptions } from "./redis.ts";

const COMMAND_TIMEOUT_MS = 2_000;

/** A worker's connections to Redis. */
export type WorkerRedis = {
  /** For every command that does not block. */
  commands: Redis | Cluster;
  /** Rejects when Redis does not run the queue's scripts for this worker. */
  check(this: void): Promise<unknown>;
  /**
   * Waits for a marker of one of these lanes of the shard, at most `ms`. At most one call per shard at a time.
   * @returns whether it took a marker, which no other worker gets then
   */
  waitForWork(
    this: void,
    shard: number,
    markers: { open: readonly Lane[]; spare: readonly Lane[] },
    ms: number,
  ): Promise<boolean>;
  /** Ends the waits under way. What `commands` sends after this call finds no wait of this worker. */
  endWaits(this: void): void;
  /**
   * Calls `listener` when the reply of the next beat has news for this worker: a cancel of a run, the end of a relative of a run, or
   * a drain. A hint may be lost.
   */
  onHint(listener: () => void): void;
  /** Sends a worker a hint: the reply of its next beat has news for it. */
  hint(this: void, owner: string): void;
  /** Answers each question after this worker's health with the text that `read` returns. */
  onHealthQuestion(read: () => Promise<string>): void;
  /** Answers each request to test a mail server with the text that `test` returns for the question's name and text. */
  onMailQuestion(test: (question: string, text: string) => Promise<string>): void;
  close(): void;
};

/** Opens a worker's connections to Redis. Each reconnects by itself, without end. */
export function openWorkerRedis(config: Config, owner: Incarnation): WorkerRedis {
  const target = parseRedisUrl(config);
  const connect = (purpose: string, options: ConnectOptions = {}) => {
    const connection = connectRedis(target, { connectionName: `${config.workerId}-${purpose}`, ...options });
    connection.on("error", () => {});
    return connection;
  };
  const commands = connect("commands", { commandTimeout: COMMAND_TIMEOUT_MS });
  commands.on("error", (error: Error) => log.warn("redis.error", { message: messageOf(error) }));
  const check = () => commands.eval(PROBE, 0);
  commands.once("ready", () => void Promise.all([warnOfEviction(commands), reportUnusable(check)]));
  // A blocked connection serves no other command, so each shard has its own.
  const blocking = Array.from({ length: config.QUEUE_SHARDS }, (_, shard) => connect(`wait-${shard}`));
  const control = connect("control");
  control.on("ready", () => void control.subscribe(keys.control(owner)).catch(() => {}));

  // The edge waits for a few seconds and then says so, so an answer that cannot be sent is not repeated.
  const answer = (question: string, text: Promise<string>): void => {
    text
      .then((ready) => commands.publish(keys.answer(question), ready))
      .catch((error: unknown) => log.info("worker.answer_not_sent", { message: messageOf(error) }));
  };

  return {
    commands,
    check,
    async waitForWork(shard, { open, spare }, ms) {
      const end = keys.endWait(shard, owner);
      const markers = [
        ...open.map((lane) => keys.wake(shard, lane)),
        ...spare.map((lane) => keys.wakeSpare(shard, lane)),
      ];
      const marked = blocking[shard]?.blpop([end, ...markers], ms / 1_000);
      // The second timer bounds the wait when the connection is half open: a marker is only a hint.
      const taken = await Promise.race([marked, sleep(ms + 1_000, null, { ref: false })]);
      return taken ? taken[0] !== end : false;
    },
    endWaits() {
      for (const shard of blocking.keys()) {
        const end = keys.endWait(shard, owner);
        // A wait that cannot be ended lasts for its own time at most.
        commands.rpush(end, "1").catch(() => {});
        commands.del(end).catch(() => {});
      }
    },
    onHint(listener) {
      control.on("message", (_channel, message) => {
        if (healthQuestionOf(message) === null && mailQuestionOf(message) === null) listener();
      });
    },
    onHealthQuestion(read) {
      control.on("message", (_channel, message) => {
        const question = healthQuestionOf(message);
        if (question === null) return;
        answer(question, read());
      });
    },
    onMailQuestion(test) {
      control.on("message", (_channel, message) => {
        const asked = mailQuestionOf(message);
        if (asked !== null) answer(asked.question, test(asked.question, asked.test));
      });
    },
    hint: (incarnation) => void commands.publish(keys.control(incarnation), "signal").catch(() => {}),
    close() {
      for (const connection of [commands, control, ...blocking]) connection.disconnect();
    },
  };
}

/** Warns when Redis may evict keys of the queue. Each loss is noticed and repaired, at a cost. */
async function warnOfEviction(redis: Redis | Cluster): Promise<void> {
  // A hosted Redis may refuse CONFIG: then there is nothing to warn of.
  const reply = await redis.call("CONFIG", "GET", "maxmemory-policy").catch(() => null);
  const policy = Array.isArray(reply) ? String(reply[1]) : "noeviction";
  if (policy !== "noeviction") {
    log.warn("redis.may_evict", { policy, advice: "set maxmemory-policy to noeviction" });
  }
}

/** A script with the flags of the queue's, which changes nothing: a replica, a user without rights and a Redis before 7.0 refuse both alike. */
const PROBE = "#!lua flags=allow-oom\nreturn 1";

/** Logs that this Redis runs no script of the queue, and what it lacks: without the queue runs start late, claimed in Postgres. */
async function reportUnusable(check: () => Promise<unknown>): Promise<void> {
  const refusal: unknown = await check().then(
    () => null,
    (error: unknown) => error,
  );
  // Any other error is of the connection, not of Redis.
  if (!(refusal instanceof Error) || refusal.name !== "ReplyError") return;
  log.error("redis.unusable", {
    message: refusal.message,
    advice:
      "REDIS_URL needs the master of a Redis 7.0 or newer and a user with ~* &* +@all -@dangerous -@admin; EVAL and EVALSHA keep their names",
  });
}
