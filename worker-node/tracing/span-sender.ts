import { setTimeout as sleep } from "node:timers/promises";
import { log } from "../../shared/log.ts";
import { waitBeforeRetryMs } from "../../shared/tracing/export-outcome.ts";
import { SpanBuffer } from "../../shared/tracing/span-buffer.ts";
import type { Export } from "./grpc-export.ts";

/** A span waits for others this long, unless a batch is full before. */
const GATHER_MS = 1_000;
/** A worker that stops sends for this long at most. */
const CLOSE_MS = 3_000;
/** While it stops, it tries a busy collector again after this time at the latest. */
const CLOSING_RETRY_MS = 250;

/**
 * Sends a worker's spans, one batch at a time. A batch that a busy collector did not take is sent again until it does; until then
 * later spans wait in the bounded buffer.
 */
export class SpanSender {
  readonly buffer: SpanBuffer;
  #export: Export;
  /** Aborted when the worker stops: it ends the pauses. */
  readonly #closing = new AbortController();
  /** Aborted when the collector changes: it ends the pause for the one before. */
  #moved = new AbortController();
  /** The collector that has a batch under way. */
  #sendingTo: Export | null = null;
  #deadlineMs = Infinity;
  #batchFull = Promise.withResolvers<void>();
  #sending: Promise<void> = Promise.resolve();

  constructor(exported: Export) {
    this.#export = exported;
    this.buffer = new SpanBuffer(() => {
      if (this.buffer.hasFullBatch) this.#batchFull.resolve();
    });
  }

  start(): void {
    this.#sending = this.#sendAll();
  }

  /** Sends to another collector from the next batch on. A batch under way stays with the one before, and is sent again if that is busy. */
  moveTo(exported: Export): void {
    if (this.#export !== this.#sendingTo) this.#export.close();
    this.#export = exported;
    this.#moved.abort();
    this.#moved = new AbortController();
  }

  /** Sends the spans that have ended, as far as the collector takes them within 3 s. */
  async close(): Promise<void> {
    this.#deadlineMs = performance.now() + CLOSE_MS;
    this.#closing.abort();
    await Promise.race([this.#sending, sleep(CLOSE_MS)]);
    const unsent = this.buffer.size + this.buffer.takeDropped();
    if (unsent > 0) log.warn("trace.spans_unsent", { spans: unsent });
    this.#export.close();
  }

  async #sendAll(): Promise<void> {
    for (let failures = 0; !this.#isOver();) {
      if (failures === 0) await Promise.race([this.#pause(GATHER_MS), this.#batchFull.promise]);
      this.#batchFull = Promise.withResolvers();
      const batch = this.buffer.take();
      if (batch.length === 0) continue;
      const exported = (this.#sendingTo = this.#export);
      const outcome = await exported.send(batch);
      this.#sendingTo = null;
      const hasMoved = exported !== this.#export;
      if (hasMoved) exported.close();
      if (outcome.is === "busy") {
        this.buffer.putBack(batch);
        failures = hasMoved ? 0 : failures + 1;
        if (hasMoved) continue;
        if (failures === 1) log.warn("trace.collector_busy", { why: outcome.why });
        await this.#pauseBusy(waitBeforeRetryMs(outcome.retryAfterMs, failures, Math.random));
        continue;
      }
      failures = 0;
      if (outcome.is === "refused")
        log.warn("trace.spans_refused", { spans: batch.length, why: outcome.why });
      const dropped = this.buffer.takeDropped();
      if (dropped > 0) log.warn("trace.spans_dropped", { spans: dropped });
    }
  }

  /** True when the worker stops, and nothing is left to send or the time is over. */
  #isOver(): boolean {
    const isClosing = this.#closing.signal.aborted;
    return isClosing && (this.buffer.size === 0 || performance.now() >= this.#deadlineMs);
  }

  async #pauseBusy(ms: number): Promise<void> {
    await this.#pause(ms, this.#moved.signal);
    if (this.#closing.signal.aborted) await sleep(Math.min(ms, CLOSING_RETRY_MS));
  }

  /** Ends early when the worker stops, and with `signal`. */
  async #pause(ms: number, signal?: AbortSignal): Promise<void> {
    const ends = signal ? AbortSignal.any([this.#closing.signal, signal]) : this.#closing.signal;
    await sleep(ms, undefined, { signal: ends }).catch(() => {});
  }
}
