import { frames } from "../../shared/events/lines.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { Send } from "./viewer.ts";

const encoder = new TextEncoder();

/** The first bytes of every stream: how long an EventSource waits before it comes back. */
export const RETRY = encoder.encode("retry: 1000\n\n");

/** Keeps proxies from closing a silent stream, and shows us who has left: that is only seen on a write. */
export const KEEPALIVE = encoder.encode(": keepalive\n\n");

export const SSE_HEADERS = {
  "content-type": "text/event-stream",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

export function toBytes(run: RunId, { entry, from }: Send): Uint8Array {
  return encoder.encode(frames(run, entry, from));
}

/** A stream that asks to be opened again in a second, when a store is away: an EventSource gives up on an error status. */
export function reconnectLater(): Response {
  return new Response(RETRY, { headers: SSE_HEADERS });
}
