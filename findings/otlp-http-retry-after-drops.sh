#!/usr/bin/env bash
# OpenTelemetry's HTTP exporter sends a batch again after a 503, but drops it where the 503 says to come back in 12 seconds.
#
# Versions: @opentelemetry/exporter-trace-otlp-http 0.301.0, @opentelemetry/sdk-trace 3.1.0.
# Input: one span, and a collector that answers its first request with 503 and every later one with 200: without `Retry-After`, with
# 2 seconds, and with 12.
# Seen: the first two arrive with a second request. The third has one request only: 12 seconds are beyond the export's limit of 10
# seconds, so no try is made at all. A collector that asks for a pause, as OTLP lets it, loses what an abrupt one gets.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @opentelemetry/exporter-trace-otlp-http@0.301.0 @opentelemetry/sdk-trace@3.1.0 @opentelemetry/api@1.10.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { BatchSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
async function requests(headers) {
  let count = 0;
  const server = createServer((request, response) => {
    count += 1;
    const [status, sent] = count === 1 ? [503, headers] : [200, { "content-type": "application/json" }];
    request.resume().on("end", () => response.writeHead(status, sent).end("{}"));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const exporter = new OTLPTraceExporter({ url: `http://127.0.0.1:${server.address().port}/v1/traces` });
  const provider = new TracerProvider({ spanProcessors: [new BatchSpanProcessor({ exporter })] });
  provider.getTracer("probe").startSpan("only").end();
  await provider.forceFlush().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 15_000));
  await provider.shutdown().catch(() => {});
  server.close();
  return count;
}
const counts = await Promise.all([{}, { "retry-after": "2" }, { "retry-after": "12" }].map(requests));
console.log(`without: ${counts[0]}, of 2 seconds: ${counts[1]}, of 12 seconds: ${counts[2]}`);
JS
node probe.mjs 2>errors | tee seen
grep -qx 'without: 2, of 2 seconds: 2, of 12 seconds: 1' seen
echo "as described"
