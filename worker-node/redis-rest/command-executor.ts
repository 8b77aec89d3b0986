/** Commands on the one shared connection (or, in a cluster, the one to each node). */
import { Cluster, Command, Redis } from "ioredis";
import { checkCommand, type RestCommand } from "./command-policy.ts";
import { rowsFromBody, toCommand } from "./command-parser.ts";
import { crossSlot, redisAway, RestError, toRestError } from "./rest-error.ts";

/**
 * Send one command and wait for its reply, undecoded (see encoding.ts).
 *
 * @throws RestError 400 refused, or what Redis answered; 503 no answer within the client's command timeout
 */
export async function execute(redis: Redis | Cluster, command: RestCommand): Promise<unknown> {
  checkCommand(command);
  holdWrites(redis);
  try {
    return await redis.sendCommand(new Command(command.name, command.args, { replyEncoding: null }));
  } catch (error) {
    throw toRestError(error);
  }
}

/**
 * Gather what one turn of the event loop sends into one write: with many requests in flight, the system call per
 * command is the largest cost of all.
 */
function holdWrites(redis: Redis | Cluster): void {
  if (!(redis instanceof Redis) || redis.status !== "ready") return;
  const { stream } = redis;
  if (stream.writableCorked > 0) return;
  stream.cork();
  setImmediate(() => stream.uncork());
}

/**
 * Run every row of a pipeline, in order, each on its own: one that fails leaves the others alone.
 *
 * @returns a reply or an error per row
 * @throws RestError 503 when no row got an answer
 */
export async function executePipeline(redis: Redis | Cluster, body: Buffer | null): Promise<unknown[]> {
  // All are sent in this tick, so nothing of another request comes between, and Redis sees them in this order.
  const sent = rowsFromBody(body, "pipeline").map(async (row) => execute(redis, toCommand(row)));
  const settled = await Promise.allSettled(sent);
  const replies = settled.map((one) => (one.status === "fulfilled" ? one.value : toRestError(one.reason)));
  if (replies.every((reply) => reply instanceof RestError && reply.status === 503)) throw redisAway();
  return replies;
}

/**
 * Run all rows as one transaction. A row that cannot be queued (unknown, refused, wrong number of arguments)
 * discards all of it; a row that fails while running fails alone, as Redis has it. In a cluster all keys must
 * be of one slot.
 *
 * @returns a reply or an error per row
 * @throws RestError 400 discarded, 503 no answer: what became of it is not known
 */
export async function executeTransaction(redis: Redis | Cluster, body: Buffer | null): Promise<unknown[]> {
  const commands = rowsFromBody(body, "multi-exec").map(toCommand);
  commands.forEach(checkCommand);
  // ioredis would wait without end for a cluster that it has not seen yet.
  if (redis.status !== "ready") throw redisAway();
  // ioredis takes keys of one node for enough; the day their slots part, such a transaction would begin to fail.
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

/** Why a transaction was discarded is said by the command that could not be queued, not by EXEC. */
function firstCause(error: unknown): unknown {
  const previous: unknown =
    error instanceof Error && "previousErrors" in error ? error.previousErrors : undefined;
  return Array.isArray(previous) && previous.length > 0 ? previous[0] : error;
}
