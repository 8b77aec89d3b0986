/** Executes commands on the connection that all requests share, or in a cluster on the connection to each node. */
import { Cluster, Command, Redis } from "ioredis";
import type { RestCommand } from "./command-policy.ts";
import { toCommand } from "./command-parser.ts";
import { crossSlot, redisUnreachable, RestError, toRestError } from "./rest-error.ts";

/** Throws RestError 400 for a command that this caller may not send. */
export type CommandCheck = (command: RestCommand) => void;

/** A row of a pipeline and its reply or error. `command`: null for a row that could not be read. */
export type Executed = { command: RestCommand | null; reply: unknown };

/**
 * Sends one command and returns its reply, undecoded (see reply-encoding.ts).
 *
 * @throws RestError 400 for a refused command or an error of Redis; 503 without a reply within the command timeout
 */
export async function executeCommand(
  redis: Redis | Cluster,
  command: RestCommand,
  check: CommandCheck,
): Promise<unknown> {
  check(command);
  batchWrites(redis);
  try {
    return await redis.sendCommand(new Command(command.name, command.args, { replyEncoding: null }));
  } catch (error) {
    throw toRestError(error);
  }
}

/**
 * Gathers all commands of one turn of the event loop into one write. With many requests in flight a system call for
 * each command is the largest cost.
 */
function batchWrites(redis: Redis | Cluster): void {
  if (!(redis instanceof Redis) || redis.status !== "ready") return;
  const { stream } = redis;
  if (stream.writableCorked > 0) return;
  stream.cork();
  setImmediate(() => stream.uncork());
}

/**
 * Executes the rows of a pipeline in order. A row that fails does not affect the others.
 *
 * @returns a reply or an error for each row
 * @throws RestError 503 when no row got a reply
 */
export async function executePipeline(
  redis: Redis | Cluster,
  rows: readonly unknown[],
  check: CommandCheck,
): Promise<Executed[]> {
  // All rows are sent in this tick: Redis gets them in this order, with no command of another request between them.
  const executed = await Promise.all(rows.map(async (row) => executeRow(redis, row, check)));
  const isUnanswered = ({ reply }: Executed) => reply instanceof RestError && reply.status === 503;
  if (executed.every(isUnanswered)) throw toRestError(executed[0]?.reply);
  return executed;
}

async function executeRow(redis: Redis | Cluster, row: unknown, check: CommandCheck): Promise<Executed> {
  let command: RestCommand | null = null;
  try {
    command = toCommand(row);
    return { command, reply: await executeCommand(redis, command, check) };
  } catch (error) {
    return { command, reply: toRestError(error) };
  }
}

/**
 * Executes all rows as one transaction. A row that cannot be queued (unknown, refused, wrong number of arguments)
 * discards the transaction. A row that fails during EXEC fails alone, as in Redis. In a cluster all keys must be of one
 * slot.
 *
 * @returns a reply or an error for each row
 * @throws RestError 400 for a discarded transaction; 503 without a reply: the outcome is unknown
 */
export async function executeTransaction(
  redis: Redis | Cluster,
  rows: readonly unknown[],
  check: CommandCheck,
): Promise<unknown[]> {
  const commands = rows.map(toCommand);
  commands.forEach(check);
  // For a cluster that it has never reached, ioredis would wait without a limit.
  if (redis.status !== "ready") throw redisUnreachable();
  // ioredis accepts keys of one node. Such a transaction would fail as soon as its slots move to different nodes.
  if (redis instanceof Cluster && countSlots(commands) > 1) throw crossSlot();
  const transaction = redis.multi();
  for (const { name, args } of commands) transaction.callBuffer(name, ...args);
  try {
    const results = (await transaction.exec()) ?? [];
    return results.map(([error, reply]) => error ?? reply);
  } catch (error) {
    throw toRestError(firstCause(error));
  }
}

function countSlots(commands: RestCommand[]): number {
  const slots = commands.map(({ name, args }) => new Command(name, args).getSlot());
  return new Set(slots.filter((slot) => slot !== null)).size;
}

/** The error of the command that could not be queued: EXEC itself reports only that the transaction was discarded. */
function firstCause(error: unknown): unknown {
  const previous: unknown =
    error instanceof Error && "previousErrors" in error ? error.previousErrors : undefined;
  return Array.isArray(previous) && previous.length > 0 ? previous[0] : error;
}
