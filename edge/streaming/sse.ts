import { frames } from "../../shared/events/lines.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { Send } from "./viewer.ts";

const encoder = new TextEncoder();

/** The first bytes of every stream: how long an EventSource waits before it reconnects. */
export const RETRY = encoder.encode("retry: 1000\n\n");

/**
 * A comment line. It keeps proxies from closing a silent stream, and it detects viewers that have disconnected: the
 * runtime reports that only at a write.
 */
export const KEEPALIVE = encoder.encode(": keepalive\n\n");

export const SSE_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

export function toBytes(run: RunId, { entry, from }: Send): Uint8Array {
  return encoder.encode(frames(run, entry, from));
}

/**
 * An empty stream after which the viewer reconnects in a second. For a store that is unreachable: an EventSource
 * gives up for good on an error status.
 */
export function reconnectLater(): Response {
  return new Response(RETRY, { headers: SSE_HEADERS });
}
