import type { ClaimedRun } from "../../shared/store/runs/claim-runs.ts";
import type { Span, Tracer } from "../../shared/tracing/span.ts";
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

/** Opens the tracing of a worker. Null: it has no OTLP_ENDPOINT. */
export async function openTracing(config: Config, instance: string): Promise<Tracing | null> {
  const { OTLP_ENDPOINT: endpoint, OTLP_CONTENT: hasContent } = config;
  if (endpoint === undefined) return null;
  const { startTracing } = await import("./start-tracing.ts");
  return startTracing({ endpoint, hasContent, instance });
}
