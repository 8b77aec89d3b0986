import { createMiddleware } from "hono/factory";
import type { ApiEnv } from "./api.ts";
import { withinOrNull } from "../../shared/tasks/within-or-null.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";

/** A body up to this size is dropped. Of a larger one the connection is closed while the client still sends. */
const MAX_DROPPED_BYTES = 32 * 1024 * 1024;
/** The longest time for that: a client that sends slowly holds no request for longer. */
const MAX_DROP_MS = 30_000;
/** The longest pause in a body. A client that waits for the response before it sends the rest gets it after this time. */
const MAX_PAUSE_MS = 2_000;

/**
 * Reads what is left of the body of a refused request, without keeping it. Most clients read no response before they have sent their
 * body: they would see a broken connection, and not that their key is wrong or their file too large. A request without a key must
 * cost nothing, so its body is not read.
 */
export const dropRefusedBody = createMiddleware<ApiEnv>(async (c, next) => {
  await next();
  const { body } = c.req.raw;
  // A body that is read is locked.
  if (c.res.status < 400 || body === null || body.locked) return;
  if (c.req.header("authorization") === undefined) return;
  if (Number(c.req.header("content-length") ?? 0) <= MAX_DROPPED_BYTES) await drop(body);
});

async function drop(body: ReadableStream<Uint8Array>): Promise<void> {
  const reader = body.getReader();
  const endMs = elapsedMs() + MAX_DROP_MS;
  let leftBytes = MAX_DROPPED_BYTES;
  try {
    while (leftBytes >= 0 && elapsedMs() < endMs) {
      const part = await withinOrNull(reader.read(), MAX_PAUSE_MS);
      if (part === null || part.done) return;
      leftBytes -= part.value.byteLength;
    }
  } catch {
    // The client has left. As after a body that is too long or too slow, the connection is closed after the response.
  }
}
