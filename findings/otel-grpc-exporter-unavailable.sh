#!/usr/bin/env bash
# OpenTelemetry's gRPC exporter drops a batch that the collector answers with UNAVAILABLE, which OTLP says to send again.
#
# Versions: @opentelemetry/exporter-trace-otlp-grpc 0.301.0, @opentelemetry/sdk-trace 3.1.0, @grpc/grpc-js 1.14.7.
# Input: one span, and a collector that answers its first Export with UNAVAILABLE and every later one with OK.
# Seen: export() reports a failure and one call has arrived; no second one follows, also not by forceFlush and shutdown.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @opentelemetry/exporter-trace-otlp-grpc@0.301.0 @opentelemetry/sdk-trace@3.1.0 @opentelemetry/api@1.10.0 @grpc/grpc-js@1.14.7 >/dev/null
cat > probe.mjs <<'JS'
import grpc from "@grpc/grpc-js";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { TracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace";
let calls = 0;
const same = (bytes) => bytes;
const server = new grpc.Server();
const serialization = { requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
server.addService(
  { Export: { path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export", requestStream: false, responseStream: false, ...serialization } },
  {
    Export(_call, reply) {
      calls += 1;
      if (calls === 1) reply({ code: grpc.status.UNAVAILABLE, details: "busy", metadata: new grpc.Metadata() });
      else reply(null, Buffer.alloc(0));
    },
  },
);
const port = await new Promise((resolve) =>
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_error, bound) => resolve(bound)),
);
const exporter = new OTLPTraceExporter({ url: `http://127.0.0.1:${port}` });
const provider = new TracerProvider({ spanProcessors: [new BatchSpanProcessor({ exporter })] });
provider.getTracer("probe").startSpan("only").end();
await provider.forceFlush().catch(() => {});
await new Promise((resolve) => setTimeout(resolve, 10_000));
await provider.forceFlush().catch(() => {});
await provider.shutdown().catch(() => {});
console.log(`calls=${calls}`);
server.forceShutdown();
JS
seen=$(timeout 120 node probe.mjs 2>/dev/null | tail -1)
echo "$seen"
[ "$seen" = "calls=1" ]
echo "as described"
