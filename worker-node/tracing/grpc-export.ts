import { Client, Metadata, credentials, status } from "@grpc/grpc-js";
import type { ServiceError } from "@grpc/grpc-js";
import { ProtobufTraceSerializer } from "@opentelemetry/otlp-transformer";
import type { ExportOutcome } from "../../shared/tracing/export-outcome.ts";
import type { Collector } from "../../shared/tracing/otel-variables.ts";
import type { SpanBatch } from "../../shared/tracing/span-buffer.ts";

const METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const REQUEST_MS = 10_000;
/** A collector that is back is reached within this time. By default it may take two minutes. */
const CHANNEL = { "grpc.max_reconnect_backoff_ms": 10_000 };

/** The codes of OTLP over gRPC after which a batch is sent again. */
const BUSY: ReadonlySet<status> = new Set([
  status.CANCELLED,
  status.DEADLINE_EXCEEDED,
  status.ABORTED,
  status.OUT_OF_RANGE,
  status.UNAVAILABLE,
  status.DATA_LOSS,
]);

/** Sends batches of spans to a collector. `send` never rejects. */
export type Export = { send(batch: SpanBatch): Promise<ExportOutcome>; close(): void };

/**
 * Exports by OTLP over gRPC: in clear to an `http:` address, by TLS to an `https:` one.
 *
 * OpenTelemetry's exporter (exporter-trace-otlp-grpc 0.301) was tried and given up: it sends nothing again after UNAVAILABLE, and
 * loads gRPC by a path that a bundle does not have. Its serializer is used.
 */
export function openGrpcExport({ endpoint, headers }: Collector): Export {
  const security =
    new URL(endpoint).protocol === "https:" ? credentials.createSsl() : credentials.createInsecure();
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const client = new Client(addressOf(endpoint), security, CHANNEL);
  return {
    send(batch) {
      const request = ProtobufTraceSerializer.serializeRequest(batch.map(({ span }) => span));
      if (!request) return Promise.resolve({ is: "refused", why: "the spans cannot be written" });
      const { promise, resolve } = Promise.withResolvers<ExportOutcome>();
      const options = { deadline: Date.now() + REQUEST_MS };
      client.makeUnaryRequest(METHOD, asBuffer, asBuffer, request, metadata, options, (error) =>
        resolve(error === null ? { is: "sent" } : outcomeOf(error)),
      );
      return promise;
    },
    close: () => client.close(),
  };
}

/** The address of a collector for gRPC. It always has a port, because gRPC takes 443 where there is none, also without TLS. */
export function addressOf(endpoint: string): string {
  const { hostname, port, protocol } = new URL(endpoint);
  return `${hostname}:${port || (protocol === "https:" ? 443 : 80)}`;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes);
}

function outcomeOf({ code, metadata }: ServiceError): ExportOutcome {
  const why = `the collector answered ${status[code]}`;
  // With details the collector is busy, and says for how long. Without details the batch is too large for it.
  const isFull = code === status.RESOURCE_EXHAUSTED && metadata.get("grpc-status-details-bin").length > 0;
  return BUSY.has(code) || isFull ? { is: "busy", retryAfterMs: null, why } : { is: "refused", why };
}
