import type { RunId } from "../../shared/contracts/ids.ts";
import { frames } from "../../shared/events/lines.ts";
import type { Send } from "./viewer.ts";

const encoder = new TextEncoder();

/** The first bytes of every stream: how long an EventSource waits before it reconnects. */
export const RETRY = encoder.encode("retry: 1000\n\n");

/**
 * A comment line. It keeps proxies from closing a silent stream, and it detects viewers that have disconnected: the
 * runtime reports that only at a write.
 */
const KEEPALIVE = encoder.encode(": keepalive\n\n");

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

/** A viewer with more unsent bytes is cut off; it reconnects with the id of its last event. */
const MAX_UNSENT_BYTES = 256 * 1024;

/** The journal is read ahead for a viewer up to so many unsent bytes. */
const READ_AHEAD_BYTES = 64 * 1024;

/** A viewer that takes nothing for this long, although bytes wait for it, counts as gone. */
const STALLED_MS = 60_000;

/** The byte stream to one viewer. `onClosed` is called once, whatever ends the stream. */
export class SseWriter {
  readonly body: ReadableStream<Uint8Array>;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  #onPull: (() => void) | null = null;
  readonly #onClosed: () => void;

  constructor(onClosed: () => void) {
    this.#onClosed = onClosed;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
          controller.enqueue(RETRY);
        },
        pull: () => this.#onPull?.(),
        cancel: () => this.#end(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD_BYTES }),
    );
  }

  /**
   * Closes when `signal` aborts. When a viewer disconnects, some runtimes abort this signal and others call the
   * stream's `cancel`.
   */
  closeOn(signal: AbortSignal): void {
    signal.addEventListener("abort", () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  get isOpen(): boolean {
    return this.#controller !== null;
  }

  /** Sends bytes at once. Cuts off a viewer with more than 256 KiB unsent. */
  send(bytes: Uint8Array): void {
    this.#controller?.enqueue(bytes);
    if (this.#unsentBytes() > MAX_UNSENT_BYTES) this.close();
  }

  /** Sends bytes at the viewer's pace: waits first until it has taken most of the earlier ones. */
  async sendPaced(bytes: Uint8Array): Promise<void> {
    if (this.#unsentBytes() >= READ_AHEAD_BYTES) await this.#untilPulled();
    this.#controller?.enqueue(bytes);
  }

  /** Sends a comment line, unless many unsent bytes go before it anyway. */
  keepAlive(): void {
    if (this.#unsentBytes() < READ_AHEAD_BYTES) this.#controller?.enqueue(KEEPALIVE);
  }

  close(): void {
    const controller = this.#controller;
    this.#end();
    try {
      controller?.close();
    } catch {
      // The stream was cancelled or closed before.
    }
  }

  #unsentBytes(): number {
    return READ_AHEAD_BYTES - (this.#controller?.desiredSize ?? READ_AHEAD_BYTES);
  }

  async #untilPulled(): Promise<void> {
    const timer = setTimeout(() => this.close(), STALLED_MS);
    await new Promise<void>((resolve) => (this.#onPull = resolve));
    this.#onPull = null;
    clearTimeout(timer);
  }

  #end(): void {
    if (this.#controller === null) return;
    this.#controller = null;
    this.#onPull?.();
    this.#onClosed();
  }
}
