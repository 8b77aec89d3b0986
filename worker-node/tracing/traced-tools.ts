import {
  ATTR_GEN_AI_OPERATION_NAME,
  ATTR_GEN_AI_TOOL_CALL_ARGUMENTS,
  ATTR_GEN_AI_TOOL_CALL_RESULT,
  ATTR_GEN_AI_TOOL_NAME,
  ATTR_GEN_AI_TOOL_TYPE,
} from "@opentelemetry/semantic-conventions/incubating";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Attributes } from "../../shared/tracing/span.ts";
import type { Tools } from "../engine/ports.ts";
import { shortened } from "./content.ts";
import type { CallsOf } from "./traced-models.ts";

/** The same tools, with a span for each call by the conventions for generative AI. The call carries the span's context to the tool. */
export function tracedTools(tools: Tools, { tracer, parent, hasContent }: CallsOf): Tools {
  return {
    ...tools,
    call(request) {
      const { tool, args } = request;
      const name = typeof tool["name"] === "string" ? tool["name"] : "";
      const attributes: Attributes = {
        [ATTR_GEN_AI_OPERATION_NAME]: "execute_tool",
        [ATTR_GEN_AI_TOOL_NAME]: name,
        [ATTR_GEN_AI_TOOL_TYPE]: tool["tool_type"] === "mcp" ? "extension" : "function",
        ...(hasContent && { [ATTR_GEN_AI_TOOL_CALL_ARGUMENTS]: shortened(JSON.stringify(args)) }),
      };
      const options = { kind: "internal" as const, parent: parent.traceparent, attributes };
      return inSpan(tracer, `execute_tool ${name}`, options, async (span) => {
        const result = await tools.call({ ...request, ...(span && { traceparent: span.traceparent }) });
        if (hasContent) span?.set({ [ATTR_GEN_AI_TOOL_CALL_RESULT]: shortened(JSON.stringify(result)) });
        return result;
      });
    },
  };
}
