import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
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

/** The charset is stated although an event stream has no other: HTTP libraries of Python read a text without one as Latin-1. */
export const SSE_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

/** The bytes of an entry's events, from number `from` on, as frames of the stream. */
export function toBytes(run: RunId, { entry, from }: Send): Uint8Array {
  return encoder.encode(frames(run, entry, from));
}

/**
 * An empty stream, after which the viewer reconnects in a second. It is sent while a store is unreachable: an EventSource never
 * reconnects after an error status.
 */
export function reconnectLater(): Response {
  return new Response(RETRY, { headers: SSE_HEADERS });
}

/** The relay reads ahead for a viewer until this many bytes are unsent: a viewer that takes nothing keeps no more in memory. */
const READ_AHEAD_BYTES = 16 * 1024;

/** A viewer with more unsent bytes than this gets no further live entry. All viewers of a run share the memory of an entry's bytes. */
const LIVE_AHEAD_BYTES = 64 * 1024;

/** The unsent bytes of live entries in one object. They are divided evenly among its viewers, with at least 16 KiB for each. */
const LIVE_BYTES = 32 * 1024 * 1024;

/** The most unsent bytes with which a viewer gets a further live entry, in an object with this many viewers. */
export function liveAheadBytes(viewers: number): number {
  return Math.max(READ_AHEAD_BYTES, Math.min(LIVE_AHEAD_BYTES, LIVE_BYTES / viewers));
}

/** A viewer that takes no byte for this long, while bytes wait for it, counts as gone. */
const STALLED_MS = 60_000;

/** How often a wait for room is compared with its time limit. */
const LOOK_MS = 250;

/** The size of the pieces in which bytes are sent, so that progress within a large event can be seen. */
const PIECE_BYTES = 16 * 1024;

const QUEUE = new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD_BYTES });

/**
 * The byte stream to one viewer. `onClosed` is called once, whatever ends the stream. It clears no timer: of a viewer that is slower than
 * the journal each piece would leave one, for as long as the object lives (`findings/workerd-cleared-timer-stays.sh`).
 */
export class SseWriter {
  readonly body: ReadableStream<Uint8Array>;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  /** The wait for room. */
  #wait: { untilMs: number; end(hasRoom: boolean): void } | null = null;
  /** A timer will look at the wait. */
  #isWatched = false;
  readonly #onClosed: () => void;

  constructor(onClosed: () => void) {
    this.#onClosed = onClosed;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
          controller.enqueue(RETRY);
        },
        pull: () => this.#wait?.end(true),
        cancel: () => this.#end(),
      },
      QUEUE,
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

  /** Whether the viewer has more than `aheadBytes` unsent bytes. */
  isBehind(aheadBytes: number): boolean {
    return this.#unsentBytes() > aheadBytes;
  }

  /** Sends bytes without a wait. The caller bounds them: it tests `isBehind`, waits for `room`, or sends few. */
  send(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += this.sendPiece(bytes, at);
  }

  /** Sends at most 16 KiB of `bytes` from `at` on. @returns how many bytes */
  sendPiece(bytes: Uint8Array, at: number): number {
    const piece = bytes.subarray(at, at + PIECE_BYTES);
    this.#controller?.enqueue(piece);
    return piece.length;
  }

  /** Waits until the viewer has taken most of the earlier bytes, and then sends these. */
  async sendPaced(bytes: Uint8Array): Promise<void> {
    await this.room();
    this.send(bytes);
  }

  /** Waits until the viewer has taken most of what was sent. Closes the stream of a viewer that takes nothing. */
  async room(): Promise<void> {
    for (let before = Infinity; !(await this.roomWithin(STALLED_MS));) {
      if (this.#unsentBytes() >= before) return this.close();
      before = this.#unsentBytes();
    }
  }

  /** Waits until the viewer has taken most of what was sent. @returns false when it has not within `ms` */
  async roomWithin(ms: number): Promise<boolean> {
    if (this.#unsentBytes() < READ_AHEAD_BYTES) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const wait = { untilMs: elapsedMs() + ms, end: resolve };
    this.#wait = wait;
    if (!this.#isWatched) this.#watch(wait.untilMs);
    const hasRoom = await promise;
    this.#wait = null;
    return hasRoom;
  }

  /** Ends the wait of that time when its limit has passed. The timer ends in its own callback, and finds no wait when there was room before. */
  #watch(untilMs: number): void {
    this.#isWatched = true;
    const look = (): void => {
      this.#isWatched = false;
      if (this.#wait === null) return;
      if (elapsedMs() >= this.#wait.untilMs) this.#wait.end(false);
      else this.#watch(this.#wait.untilMs);
    };
    setTimeout(look, Math.min(LOOK_MS, untilMs - elapsedMs()));
  }

  /** Sends a comment line, unless many unsent bytes go before it anyway. */
  keepAlive(): void {
    if (this.#unsentBytes() < READ_AHEAD_BYTES) this.send(KEEPALIVE);
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

  #end(): void {
    if (this.#controller === null) return;
    this.#controller = null;
    this.#wait?.end(true);
    this.#onClosed();
  }
}
