import {
  ATTR_GEN_AI_OPERATION_NAME,
  ATTR_GEN_AI_TOOL_CALL_ARGUMENTS,
  ATTR_GEN_AI_TOOL_CALL_RESULT,
  ATTR_GEN_AI_TOOL_NAME,
  ATTR_GEN_AI_TOOL_TYPE,
} from "@opentelemetry/semantic-conventions/incubating";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Attributes } from "../../shared/tracing/span.ts";
import type { Tools } from "../engine/ports.ts";
import { cutText } from "./content.ts";
import type { CallsOf } from "./traced-models.ts";

/** The same tools, with a span for each call by the conventions for generative AI. The call carries the span's context to the tool. */
export function tracedTools(tools: Tools, { tracer, parent, hasContent }: CallsOf): Tools {
  const inCallSpan = <Result>(
    { tool, args }: { tool: JsonObject; args: Json },
    type: "extension" | "function",
    call: (context: { traceparent?: string }) => Promise<Result>,
  ): Promise<Result> => {
    const name = typeof tool["name"] === "string" ? tool["name"] : "";
    const attributes: Attributes = {
      [ATTR_GEN_AI_OPERATION_NAME]: "execute_tool",
      [ATTR_GEN_AI_TOOL_NAME]: name,
      [ATTR_GEN_AI_TOOL_TYPE]: type,
      ...(hasContent && { [ATTR_GEN_AI_TOOL_CALL_ARGUMENTS]: cutText(JSON.stringify(args)) }),
    };
    const options = { kind: "internal" as const, parent: parent.traceparent, attributes };
    return inSpan(tracer, `execute_tool ${name}`, options, async (span) => {
      const result = await call(span === null ? {} : { traceparent: span.traceparent });
      if (hasContent) span?.set({ [ATTR_GEN_AI_TOOL_CALL_RESULT]: cutText(JSON.stringify(result)) });
      return result;
    });
  };
  return {
    ...tools,
    call: (request) => inCallSpan(request, "function", (context) => tools.call({ ...request, ...context })),
    callMcp: (request) =>
      inCallSpan(request, "extension", (context) => tools.callMcp({ ...request, ...context })),
  };
}
