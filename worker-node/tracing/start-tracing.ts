import { ATTR_SERVICE_INSTANCE_ID } from "@opentelemetry/semantic-conventions/incubating";
import { resourceOf } from "../../shared/tracing/otel-variables.ts";
import type { Collector } from "../../shared/tracing/otel-variables.ts";
import { openTracer } from "../../shared/tracing/tracer.ts";
import { ExecutionSpans } from "./execution-spans.ts";
import { openGrpcExport } from "./grpc-export.ts";
import { SpanSender } from "./span-sender.ts";
import { inStoreSpan } from "./store-spans.ts";
import { tracedModels } from "./traced-models.ts";
import { tracedTools } from "./traced-tools.ts";
import type { Tracing, TracingConfig } from "./tracing.ts";

/** `instance`: this incarnation of the worker. `moveTo` changes the collector. */
export function startTracing(settings: {
  collector: Collector;
  config: TracingConfig;
  instance: string;
}): Tracing & { moveTo(collector: Collector): void } {
  const { collector, config, instance } = settings;
  const { OTLP_CONTENT: hasContent } = config;
  const sender = new SpanSender(openGrpcExport(collector));
  const resource = resourceOf("synapse-worker", config, { [ATTR_SERVICE_INSTANCE_ID]: instance });
  const tracer = openTracer(resource, sender.buffer, config);
  const executions = new ExecutionSpans(tracer);
  sender.start();
  return {
    tracer,
    beginExecution: (run) => executions.begin(run),
    models: (models, parent) => tracedModels(models, { tracer, parent, hasContent }),
    tools: (tools, parent) => tracedTools(tools, { tracer, parent, hasContent }),
    inStoreSpan: (call, work) => inStoreSpan(tracer, executions, call, work),
    moveTo: (other) => sender.moveTo(openGrpcExport(other)),
    close: () => sender.close(),
  };
}
