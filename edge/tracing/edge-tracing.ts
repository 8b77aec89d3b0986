import type { Tracer } from "../../shared/tracing/span.ts";
import type { Config } from "../env.ts";

/** The tracing of an isolate. */
export type EdgeTracing = {
  tracer: Tracer;
  /** Sends the spans that have ended, and those that end in the next half second, after the response. */
  flush(waitUntil: (work: Promise<unknown>) => void): void;
};

const opened = new WeakMap<Config, Promise<EdgeTracing>>();

/**
 * The tracing of this isolate, which all its requests share. Null: tracing is off; then the SDK and the exporter are not even loaded.
 */
export async function tracingOf(config: Config): Promise<EdgeTracing | null> {
  const endpoint = config.OTLP_HTTP_ENDPOINT ?? httpEndpointOf(config.OTLP_ENDPOINT);
  if (endpoint === null) return null;
  const known = opened.get(config);
  if (known) return known;
  const opening = open(endpoint);
  opened.set(config, opening);
  return opening;
}

async function open(endpoint: string): Promise<EdgeTracing> {
  const { openTracer } = await import("../../shared/tracing/tracer.ts");
  const { EdgeExporter } = await import("./edge-exporter.ts");
  const exporter = new EdgeExporter(endpoint);
  return {
    tracer: openTracer({ "service.name": "synapse-edge" }, exporter.buffer),
    flush: (waitUntil) => exporter.flush(waitUntil),
  };
}

/** The address for OTLP over HTTP of the collector with this gRPC address: port 4318 in place of 4317. Null: there is no collector. */
function httpEndpointOf(endpoint: string | undefined): string | null {
  if (endpoint === undefined) return null;
  const url = new URL(endpoint);
  if (url.port === "4317") url.port = "4318";
  return url.href;
}
