import type { Context } from "hono";
import { digestOfBytes } from "../../shared/text/bytes.ts";
import { AppError } from "../../shared/errors.ts";
import type { ApiEnv } from "./api.ts";
import { namedDigestsOf, requireDigests } from "./content-digest.ts";
import { withinOrNull } from "../../shared/tasks/within-or-null.ts";

/** The longest time without a byte of a body. A client that stops there holds no request for longer. */
export const MAX_SILENCE_MS = 30_000;

/** A body up to this size has that time as a whole: to read it in parts costs more than it is worth. */
const SMALL_BYTES = 64 * 1024;

/** The requests whose body is in memory. */
const inMemory = new WeakSet<Request>();

/**
 * The bytes of a body, all of them. A second call returns the same ones.
 * @param isForeign the sender is another system: see `namedDigestsOf`
 * @throws AppError `request_timeout` when the body stops for 30 s; `invalid`, `bad_request` for a digest that is not the body's
 */
export async function readBody(c: Context<ApiEnv>, isForeign = false): Promise<ArrayBuffer> {
  const isSmall = Number(c.req.header("content-length") ?? 0) <= SMALL_BYTES;
  if (!isSmall && !inMemory.has(c.req.raw)) await takeBody(c, Infinity);
  const bytes = await unlessSilent(c.req.arrayBuffer());
  const digests = namedDigestsOf(c, isForeign);
  if (digests.length > 0) requireDigests(digests, await digestOfBytes("SHA-256", new Uint8Array(bytes)));
  return bytes;
}

/**
 * Reads a body into memory while it has at most `maxBytes`, part by part.
 * @returns false: it has more, and the rest is not read
 * @throws AppError `request_timeout`
 */
export async function takeBody(c: Context<ApiEnv>, maxBytes: number): Promise<boolean> {
  const { raw } = c.req;
  if (raw.body === null) return true;
  const reader = raw.body.getReader();
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (let part = await unlessSilent(reader.read()); !part.done; part = await unlessSilent(reader.read())) {
    bytes += part.value.byteLength;
    if (bytes > maxBytes) {
      reader.releaseLock();
      return false;
    }
    parts.push(part.value);
  }
  c.req.raw = new Request(raw, { method: raw.method, body: await new Blob(parts).arrayBuffer() });
  inMemory.add(c.req.raw);
  return true;
}

/** @throws AppError `request_timeout` */
async function unlessSilent<Result>(work: Promise<Result>): Promise<Result> {
  const result = await withinOrNull(work, MAX_SILENCE_MS);
  if (result !== null) return result;
  throw new AppError(
    "request_timeout",
    `No more of the body came in ${MAX_SILENCE_MS / 1_000} seconds: send the request again.`,
  );
}
