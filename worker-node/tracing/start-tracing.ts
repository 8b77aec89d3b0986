import { ATTR_SERVICE_NAME } from "@opentelemetry/semantic-conventions";
import { ATTR_SERVICE_INSTANCE_ID } from "@opentelemetry/semantic-conventions/incubating";
import { openTracer } from "../../shared/tracing/tracer.ts";
import { ExecutionSpans } from "./execution-spans.ts";
import { openGrpcExport } from "./grpc-export.ts";
import { SpanSender } from "./span-sender.ts";
import { inStoreSpan } from "./store-spans.ts";
import { tracedModels } from "./traced-models.ts";
import { tracedTools } from "./traced-tools.ts";
import type { Tracing } from "./tracing.ts";

/** `endpoint`: of OTLP over gRPC. `instance`: this incarnation of the worker. `moveTo` changes the endpoint. */
export function startTracing(settings: {
  endpoint: string;
  hasContent: boolean;
  instance: string;
}): Tracing & { moveTo(endpoint: string): void } {
  const { endpoint, hasContent, instance } = settings;
  const sender = new SpanSender(openGrpcExport(endpoint));
  const resource = { [ATTR_SERVICE_NAME]: "synapse-worker", [ATTR_SERVICE_INSTANCE_ID]: instance };
  const tracer = openTracer(resource, sender.buffer);
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
