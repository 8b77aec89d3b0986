import type { ReadableSpan, SpanProcessor } from "@opentelemetry/sdk-trace";

/** What one process, or one isolate of the edge, keeps of spans that have ended and are not sent yet. */
const MAX_SPANS = 20_000;
const MAX_BYTES = 16 * 1024 * 1024;

/** The bounds of one request to the collector, which by default takes 4 MiB by gRPC. */
const MAX_BATCH_SPANS = 512;
const MAX_BATCH_BYTES = 1024 * 1024;

/** About how many bytes a span has besides its texts. */
const SPAN_BYTES = 400;

type Waiting = { span: ReadableSpan; bytes: number };

/** Spans on their way to the collector, the oldest first. */
export type SpanBatch = readonly Waiting[];

/**
 * Keeps ended spans until they are sent. While the collector is away or busy they wait here, up to 20,000 spans and 16 MiB; further
 * ones are dropped and counted, so that a collector that never comes back costs no more than this.
 */
export class SpanBuffer implements SpanProcessor {
  #waiting: Waiting[] = [];
  #bytes = 0;
  #dropped = 0;
  readonly #onSpan: () => void;

  /** @param onSpan called after each span that was added */
  constructor(onSpan: () => void = () => {}) {
    this.#onSpan = onSpan;
  }

  /** How many spans wait. */
  get size(): number {
    return this.#waiting.length;
  }

  /** Whether the next batch is as large as a batch may be. */
  get hasFullBatch(): boolean {
    return this.#waiting.length >= MAX_BATCH_SPANS || this.#bytes >= MAX_BATCH_BYTES;
  }

  /** How many spans were dropped since the last call. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  /** Takes the next batch. It is the caller's until it is sent, given up, or put back. */
  take(): SpanBatch {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      if (count >= MAX_BATCH_SPANS || (count > 0 && bytes + waiting.bytes > MAX_BATCH_BYTES)) break;
      bytes += waiting.bytes;
      count += 1;
    }
    this.#bytes -= bytes;
    return this.#waiting.splice(0, count);
  }

  /** Puts a batch back before the other spans. If that exceeds a bound, the youngest spans are dropped and counted. */
  putBack(batch: SpanBatch): void {
    this.#waiting = [...batch, ...this.#waiting];
    this.#bytes += batch.reduce((sum, { bytes }) => sum + bytes, 0);
    while (this.#waiting.length > MAX_SPANS || this.#bytes > MAX_BYTES) {
      this.#bytes -= this.#waiting.pop()?.bytes ?? 0;
      this.#dropped += 1;
    }
  }

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    const bytes = sizeOf(span);
    if (this.#waiting.length >= MAX_SPANS || this.#bytes + bytes > MAX_BYTES) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push({ span, bytes });
    this.#bytes += bytes;
    this.#onSpan();
  }

  /** Part of the SDK's interface. The holder of the buffer sends its spans. */
  async forceFlush(): Promise<void> {}
  async shutdown(): Promise<void> {}
}

/** About the bytes of a span, from the lengths of its texts. */
function sizeOf({ name, attributes, links }: ReadableSpan): number {
  const texts = Object.entries(attributes).map(([key, value]) => key.length + lengthOf(value));
  return SPAN_BYTES + name.length + 60 * links.length + texts.reduce((sum, length) => sum + length, 0);
}

function lengthOf(value: unknown): number {
  if (typeof value === "string") return value.length;
  return Array.isArray(value) ? value.reduce<number>((sum, each) => sum + lengthOf(each), 0) : 8;
}
