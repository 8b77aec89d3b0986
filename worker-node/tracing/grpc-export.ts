import { status } from "@grpc/grpc-js";
import { ExportResultCode } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import type { ExportOutcome } from "../../shared/tracing/export-outcome.ts";
import type { SpanBatch } from "../../shared/tracing/span-buffer.ts";

const REQUEST_MS = 10_000;

/** The codes of OTLP over gRPC after which a batch is sent again. OpenTelemetry's exporter sends none again. */
const BUSY: ReadonlySet<unknown> = new Set([
  status.CANCELLED,
  status.DEADLINE_EXCEEDED,
  status.ABORTED,
  status.OUT_OF_RANGE,
  status.UNAVAILABLE,
  status.DATA_LOSS,
]);

export type Export = { send(batch: SpanBatch): Promise<ExportOutcome>; close(): Promise<void> };

/** Exports by OTLP over gRPC: in clear to an `http:` address, by TLS to an `https:` one. */
export function openGrpcExport(url: string): Export {
  const exporter = new OTLPTraceExporter({ url, timeoutMillis: REQUEST_MS });
  return {
    send: (batch) =>
      new Promise((resolve) => {
        const spans = batch.map(({ span }) => span);
        exporter.export(spans, ({ code, error }) =>
          resolve(code === ExportResultCode.SUCCESS ? { is: "sent" } : outcomeOf(error)),
        );
      }),
    close: () => exporter.shutdown(),
  };
}

function outcomeOf(error: Error | undefined): ExportOutcome {
  const code = error && "code" in error ? error.code : undefined;
  const name = typeof code === "number" ? (status[code] ?? "UNKNOWN") : "UNKNOWN";
  const why = `the collector answered ${name}`;
  return BUSY.has(code) ? { is: "busy", retryAfterMs: null, why } : { is: "refused", why };
}
