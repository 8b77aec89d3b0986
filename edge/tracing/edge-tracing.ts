import { headersTo, resourceOf } from "../../shared/tracing/otel-variables.ts";
import type { Collector } from "../../shared/tracing/otel-variables.ts";
import type { Tracer } from "../../shared/tracing/span.ts";
import { variablesOf } from "../env.ts";
import type { Config } from "../env.ts";
import type { EdgeExporter } from "./edge-exporter.ts";

type WaitUntil = (work: Promise<unknown>) => void;

/** The tracing of an isolate. */
export type EdgeTracing = {
  tracer: Tracer;
  /** Sends the spans that have ended, and those that end in the next half second, after the response. */
  flush(waitUntil: WaitUntil): void;
};

type Opened = { endpoint: string; tracing: Promise<EdgeTracing & Pick<EdgeExporter, "moveTo">> };

/** The tracing of an isolate by its variables. Settings change it while it runs. */
const opened = new WeakMap<Config, Opened>();

/**
 * The tracing of this isolate, which all its requests share. Null: tracing is off; then the SDK and the exporter are not even loaded.
 *
 * When the collector has changed since the last call, the spans that wait go to the new one; when tracing has ended, to the old one.
 */
export async function tracingOf(config: Config, waitUntil: WaitUntil): Promise<EdgeTracing | null> {
  const variables = variablesOf(config);
  const endpoint = endpointOf(config);
  const known = opened.get(variables);
  if (endpoint === null) {
    opened.delete(variables);
    (await known?.tracing)?.flush(waitUntil);
    return null;
  }
  const headers = headersTo(endpoint, endpointOf(variables), variables.OTEL_EXPORTER_OTLP_HEADERS);
  const tracing = known?.tracing ?? open({ endpoint, headers }, variables);
  opened.set(variables, { endpoint, tracing });
  if (known !== undefined && known.endpoint !== endpoint) (await tracing).moveTo({ endpoint, headers });
  return tracing;
}

async function open(collector: Collector, variables: Config): Opened["tracing"] {
  const { openTracer } = await import("../../shared/tracing/tracer.ts");
  const { EdgeExporter } = await import("./edge-exporter.ts");
  const exporter = new EdgeExporter(collector);
  return {
    tracer: openTracer(resourceOf("synapse-edge", variables), exporter.buffer, variables),
    flush: (waitUntil) => exporter.flush(waitUntil),
    moveTo: (other) => exporter.moveTo(other),
  };
}

function endpointOf({ OTLP_HTTP_ENDPOINT, OTLP_ENDPOINT }: Config): string | null {
  return OTLP_HTTP_ENDPOINT ?? httpEndpointOf(OTLP_ENDPOINT);
}

/** The address for OTLP over HTTP of the collector with this gRPC address: port 4318 in place of 4317. Null: there is no collector. */
function httpEndpointOf(endpoint: string | undefined): string | null {
  if (endpoint === undefined) return null;
  const url = new URL(endpoint);
  if (url.port === "4317") url.port = "4318";
  return url.href;
}
