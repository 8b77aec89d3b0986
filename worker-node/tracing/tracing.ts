import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { Span, Tracer } from "../../shared/tracing/span.ts";
import { headersTo } from "../../shared/tracing/otel-variables.ts";
import type { Collector, ResourceVariables, Sampling } from "../../shared/tracing/otel-variables.ts";
import { log } from "../../shared/log.ts";
import type { Config } from "../config.ts";
import type { Models, Tools } from "../engine/ports.ts";

/** The tracing of a worker, as its other parts use it. A worker without tracing has none, and loads nothing for it. */
export type Tracing = {
  tracer: Tracer;
  /** Begins the span of an execution: a part of the run's trace, linked to the run's execution before. */
  beginExecution(run: ClaimedRun): Span;
  /** The same models or tools, with each call in a child of the span. These spans hold what is said only with OTLP_CONTENT=on. */
  models(models: Models, parent: Span): Models;
  tools(tools: Tools, parent: Span): Tools;
  /** Executes a call of a store in a span, a child of the execution of the first run that the call's arguments name. */
  inStoreSpan<Result>(call: StoreCall, work: () => Promise<Result>): Promise<Result>;
  /** Sends the spans that have ended, for a few seconds at most. */
  close(): Promise<void>;
};

/** `operation`: a verb of the store or of the queue, or a command. `args`: what names runs in it. */
export type StoreCall = { store: "postgres" | "redis"; operation: string; args: readonly unknown[] };

/** The tracing of a worker at this moment. Null: nothing is traced. */
export type CurrentTracing = () => Tracing | null;

/** For parts of a worker that are not traced. */
export const untraced: CurrentTracing = () => null;

/** Executes a call of a store in a span of the current tracing; without tracing there is none. */
export function inCurrentStoreSpan<Result>(
  current: CurrentTracing,
  call: StoreCall,
  work: () => Promise<Result>,
): Promise<Result> {
  const tracing = current();
  return tracing === null ? work() : tracing.inStoreSpan(call, work);
}

/** The variables of tracing. */
export type TracingConfig = Pick<Config, "OTLP_ENDPOINT" | "OTLP_CONTENT" | "OTEL_EXPORTER_OTLP_HEADERS"> &
  ResourceVariables &
  Sampling;

/** The tracing of a worker, which begins, ends and changes its collector while the worker runs: docs/protocol.md 7.19. */
export class LiveTracing {
  readonly #config: TracingConfig;
  readonly #instance: string;
  #endpoint: string | null = null;
  #open: (Tracing & { moveTo(collector: Collector): void }) | null = null;
  /** What was switched off, until its spans are sent. */
  #ending: Promise<void> = Promise.resolve();

  constructor(config: TracingConfig, instance: string) {
    this.#config = config;
    this.#instance = instance;
  }

  readonly current: CurrentTracing = () => this.#open;

  /**
   * Traces to this collector from now on; null: nothing more is traced. The spans that wait go to the new collector; where tracing ends, the old
   * one gets them. The calls of one worker follow one another.
   */
  async use(endpoint: string | null): Promise<void> {
    if (endpoint === this.#endpoint) return;
    this.#endpoint = endpoint;
    if (endpoint === null) {
      this.#ending = this.#open?.close() ?? Promise.resolve();
      this.#open = null;
      log.info("tracing.ended");
      return;
    }
    const { OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS } = this.#config;
    const collector = { endpoint, headers: headersTo(endpoint, OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS) };
    if (this.#open) this.#open.moveTo(collector);
    else {
      const { startTracing } = await import("./start-tracing.ts");
      this.#open = startTracing({ collector, config: this.#config, instance: this.#instance });
    }
  }

  /** Sends the spans that have ended, for a few seconds at most. */
  async close(): Promise<void> {
    await Promise.all([this.#ending, this.#open?.close()]);
  }
}
