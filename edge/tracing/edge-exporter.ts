import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import { log } from "../../shared/log.ts";
import { parseRetryAfterMs } from "../../shared/http/retry-after.ts";
import { waitBeforeRetryMs } from "../../shared/tracing/export-outcome.ts";
import type { ExportOutcome } from "../../shared/tracing/export-outcome.ts";
import type { Collector } from "../../shared/tracing/otel-variables.ts";
import { SpanBuffer } from "../../shared/tracing/span-buffer.ts";
import type { SpanBatch } from "../../shared/tracing/span-buffer.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { pause } from "../http/pause.ts";

/** Spans of requests that end within this time are sent together. */
const GATHER_MS = 500;
/** A request sends for this long. The platform ends the work that a request left behind after 30 s. */
const FLUSH_MS = 20_000;
const REQUEST_MS = 10_000;
/** The statuses of OTLP over HTTP after which a batch is sent again. */
const BUSY: ReadonlySet<number> = new Set([429, 502, 503, 504]);

type Target = { url: string; headers: Collector["headers"] };

/**
 * Sends the spans of an isolate by OTLP over HTTP, as JSON.
 *
 * A connection belongs to the request that opened it, so one request at a time sends the spans of all, after its response. Spans that a
 * busy collector did not take within 20 s wait for a later request. When the isolate ends, they are lost.
 */
export class EdgeExporter {
  readonly buffer = new SpanBuffer();
  #to: Target;
  /** A request is sending until this time, unless the runtime has ended it. */
  #sendingUntilMs = 0;
  /** The collector is busy, and nothing is sent before this time. */
  #busyUntilMs = 0;
  #failures = 0;

  constructor({ endpoint, headers }: Collector) {
    this.#to = { url: tracesUrl(endpoint), headers };
  }

  /** Sends to another collector from the next batch on. Nothing waits any longer for the previous collector. */
  moveTo({ endpoint, headers }: Collector): void {
    this.#to = { url: tracesUrl(endpoint), headers };
    this.#busyUntilMs = this.#sendingUntilMs = this.#failures = 0;
  }

  /** Lets this request send the spans that have ended, unless another request sends. `waitUntil` keeps the request alive. */
  flush(waitUntil: (work: Promise<unknown>) => void): void {
    const nowMs = elapsedMs();
    if (this.buffer.size === 0 || nowMs < this.#sendingUntilMs || nowMs + FLUSH_MS < this.#busyUntilMs)
      return;
    this.#sendingUntilMs = nowMs + FLUSH_MS + REQUEST_MS;
    waitUntil(this.#sendAll(nowMs + FLUSH_MS).finally(() => (this.#sendingUntilMs = 0)));
  }

  async #sendAll(deadlineMs: number): Promise<void> {
    await pause(GATHER_MS);
    while (this.buffer.size > 0) {
      const waitMs = this.#busyUntilMs - elapsedMs();
      if (elapsedMs() + Math.max(0, waitMs) > deadlineMs) return;
      if (waitMs > 0) await pause(waitMs);
      await this.#sendOne();
    }
    const dropped = this.buffer.takeDropped();
    if (dropped > 0) log.warn("trace.spans_dropped", { spans: dropped });
  }

  async #sendOne(): Promise<void> {
    const batch = this.buffer.take();
    const to = this.#to;
    const outcome = await this.#post(to, batch);
    if (outcome.is === "busy") {
      this.buffer.putBack(batch);
      if (to !== this.#to) return;
      this.#failures += 1;
      this.#busyUntilMs = elapsedMs() + waitBeforeRetryMs(outcome.retryAfterMs, this.#failures, Math.random);
      if (this.#failures === 1) log.warn("trace.collector_busy", { why: outcome.why });
      return;
    }
    this.#failures = 0;
    if (outcome.is === "refused") log.warn("trace.spans_refused", { spans: batch.length, why: outcome.why });
  }

  async #post({ url, headers }: Target, batch: SpanBatch): Promise<ExportOutcome> {
    const body = JsonTraceSerializer.serializeRequest(batch.map(({ span }) => span));
    if (!body) return { is: "refused", why: "the spans have no text" };
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body,
        redirect: "manual",
        signal: AbortSignal.timeout(REQUEST_MS),
      });
      await response.body?.cancel();
      if (response.ok) return { is: "sent" };
      const why = `the collector answered HTTP ${response.status}`;
      if (!BUSY.has(response.status)) return { is: "refused", why };
      const answered = Object.fromEntries(response.headers);
      return { is: "busy", retryAfterMs: parseRetryAfterMs(answered, Date.now()) ?? null, why };
    } catch {
      // The error may quote the address.
      return { is: "busy", retryAfterMs: null, why: "the collector cannot be reached" };
    }
  }
}

function tracesUrl(endpoint: string): string {
  return new URL("v1/traces", endpoint.endsWith("/") ? endpoint : `${endpoint}/`).href;
}
