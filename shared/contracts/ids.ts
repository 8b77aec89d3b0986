import { z } from "zod";
import { toHex } from "../text/bytes.ts";

/**
 * Text that a client chooses and that is stored in a column. It holds no control characters and no half of a surrogate
 * pair: Postgres refuses a whole statement for either.
 */
export const plainText = (maxChars: number) =>
  z
    .string()
    .max(maxChars)
    .refine((text) => !/\p{Cc}/u.test(text), "must not contain control characters")
    .refine((text) => text.isWellFormed(), "must not contain half of a surrogate pair");

/** A name that a client chooses: plain text that is not empty. */
export const plainName = (maxChars: number) => plainText(maxChars).min(1);

/** The id of a tenant. It is part of Redis members, so it holds no spaces and no control characters. */
export const TenantId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/,
    "must be 1 to 64 letters, digits or . _ : - and begin with a letter or digit",
  )
  .brand("TenantId");
export type TenantId = z.infer<typeof TenantId>;

/**
 * The id of a run: `run_<12 hex>_<base>`. The base is the millisecond at which the edge made the id, by the edge's clock;
 * every event id begins with it.
 */
export const RunId = z
  .string()
  .regex(/^run_[0-9a-f]{12}_[0-9]{13}$/, "must look like run_2483e1773407_1780499750067")
  .brand("RunId");
export type RunId = z.infer<typeof RunId>;

/** The id of a chat session. */
export const SessionId = z
  .string()
  .regex(/^sess_[0-9a-f]{16}$/, "must look like sess_b639c740430d4a9a")
  .brand("SessionId");
export type SessionId = z.infer<typeof SessionId>;

/** The id of an orchestration, an agent or a step, chosen by its author. */
export const DefinitionId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$/,
    "must be 1 to 255 letters, digits or . _ - and begin with a letter or digit",
  );

/** An incarnation of a worker: its `WORKER_ID`, and a random part that its process makes when it starts. */
export const Incarnation = z
  .string()
  .regex(/^[A-Za-z0-9._-]{1,120}#[0-9a-f]{8}$/)
  .brand("Incarnation");
export type Incarnation = z.infer<typeof Incarnation>;

/** A stock of random bytes; those from `nextRandom` on are unused. A call of the generator costs 2 us, however many bytes it makes. */
const randomBytes = new Uint8Array(1_024);
let nextRandom = randomBytes.length;

/** Random bytes as hex digits. @param bytes 1,024 at most */
export function randomHex(bytes: number): string {
  if (nextRandom + bytes > randomBytes.length) {
    crypto.getRandomValues(randomBytes);
    nextRandom = 0;
  }
  const own = randomBytes.subarray(nextRandom, nextRandom + bytes);
  nextRandom += bytes;
  return toHex(own);
}

/** A new id of a run. @param nowMs milliseconds since 1970: the base */
export function newRunId(nowMs: number): RunId {
  return RunId.parse(`run_${randomHex(6)}_${nowMs}`);
}

/** A new random id of a chat session. */
export function newSessionId(): SessionId {
  return SessionId.parse(`sess_${randomHex(8)}`);
}

/** A new incarnation of the worker with this `WORKER_ID`. @throws ZodError for an id with other characters than `Incarnation` has */
export function newIncarnation(workerId: string): Incarnation {
  return Incarnation.parse(`${workerId}#${randomHex(4)}`);
}

/** The worker's id as clients see it: an incarnation without its random part. */
export function workerOf(incarnation: string): string {
  return incarnation.slice(0, incarnation.lastIndexOf("#"));
}

/** The milliseconds in a run's id. */
export function baseOf(run: RunId): string {
  return run.slice(-13);
}

/**
 * The shard of a name: FNV-1a, 32 bits, modulo `shards`. It must never change, because stored data is laid out by
 * it.
 */
export function shardOf(name: string, shards: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) {
    hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  }
  return (hash >>> 0) % shards;
}
