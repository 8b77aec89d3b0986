import { KEEPALIVE, RETRY } from "./sse.ts";

/** Unsent bytes after which a viewer is cut; it comes back with the id of its last event. */
const MAX_UNSENT_BYTES = 256 * 1024;

/** Unsent bytes up to which the journal is read on for a viewer. */
const READ_AHEAD_BYTES = 64 * 1024;

/** A viewer that takes nothing for this long while there is something to read has gone. */
const STALLED_MS = 60_000;

/** The byte stream to one viewer. `gone` is called once, however it ends. */
export class SseWriter {
  readonly body: ReadableStream<Uint8Array>;
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  #pulled: (() => void) | null = null;
  readonly #gone: () => void;

  constructor(gone: () => void) {
    this.#gone = gone;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
          controller.enqueue(RETRY);
        },
        pull: () => this.#pulled?.(),
        cancel: () => this.#end(),
      },
      new ByteLengthQueuingStrategy({ highWaterMark: READ_AHEAD_BYTES }),
    );
  }

  /** Closes with `signal`: it or the stream's `cancel` tells that the viewer has left; which one depends on the runtime. */
  closeOn(signal: AbortSignal): void {
    signal.addEventListener("abort", () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  get isOpen(): boolean {
    return this.#controller !== null;
  }

  /** Sends bytes, or cuts a viewer that is too slow for them. */
  send(bytes: Uint8Array): void {
    this.#controller?.enqueue(bytes);
    if (this.#unsent() > MAX_UNSENT_BYTES) this.close();
  }

  /** Sends bytes at the viewer's pace: waits until it has taken most of what was sent before. */
  async sendPaced(bytes: Uint8Array): Promise<void> {
    if (this.#unsent() >= READ_AHEAD_BYTES) await this.#taken();
    this.#controller?.enqueue(bytes);
  }

  /** A viewer that still has unsent bytes before it needs no sign of life. */
  keepAlive(): void {
    if (this.#unsent() < READ_AHEAD_BYTES) this.#controller?.enqueue(KEEPALIVE);
  }

  close(): void {
    const controller = this.#controller;
    this.#end();
    try {
      controller?.close();
    } catch {
      // Cancelled or closed before: there is nobody to tell.
    }
  }

  #unsent(): number {
    return READ_AHEAD_BYTES - (this.#controller?.desiredSize ?? READ_AHEAD_BYTES);
  }

  async #taken(): Promise<void> {
    const timer = setTimeout(() => this.close(), STALLED_MS);
    await new Promise<void>((resolve) => (this.#pulled = resolve));
    this.#pulled = null;
    clearTimeout(timer);
  }

  #end(): void {
    if (this.#controller === null) return;
    this.#controller = null;
    this.#pulled?.();
    this.#gone();
  }
}
