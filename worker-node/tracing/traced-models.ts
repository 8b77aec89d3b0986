import {
  ATTR_GEN_AI_INPUT_MESSAGES,
  ATTR_GEN_AI_OPERATION_NAME,
  ATTR_GEN_AI_OUTPUT_MESSAGES,
  ATTR_GEN_AI_PROVIDER_NAME,
  ATTR_GEN_AI_REQUEST_MAX_TOKENS,
  ATTR_GEN_AI_REQUEST_MODEL,
  ATTR_GEN_AI_REQUEST_STREAM,
  ATTR_GEN_AI_RESPONSE_MODEL,
  ATTR_GEN_AI_USAGE_INPUT_TOKENS,
  ATTR_GEN_AI_USAGE_OUTPUT_TOKENS,
} from "@opentelemetry/semantic-conventions/incubating";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Attributes, Span, Tracer } from "../../shared/tracing/span.ts";
import type { Message, ModelAnswer, ModelRequest, Models } from "../engine/ports.ts";
import { contentText, textPart, toolCallPart, toolResultPart } from "./content.ts";

/** How calls are traced. `parent`: the span of the try. `hasContent`: the spans hold what is said. */
export type CallsOf = { tracer: Tracer; parent: Span; hasContent: boolean };

/** Providers that the conventions name otherwise than this product does. */
const PROVIDERS: Readonly<Record<string, string>> = { google: "gcp.gemini" };

/** The same models, with a span for each call by the conventions for generative AI. */
export function tracedModels(models: Models, { tracer, parent, hasContent }: CallsOf): Models {
  return {
    ...models,
    generate(request) {
      const attributes = { ...requestAttributes(request), ...(hasContent && requestContent(request)) };
      const options = { kind: "client" as const, parent: parent.traceparent, attributes };
      const name = request.model === null ? "chat" : `chat ${modelIn(request.model)}`;
      return inSpan(tracer, name, options, async (span) => {
        const answer = await models.generate(request);
        span?.rename(`chat ${request.model === null ? answer.usage.model : modelIn(request.model)}`);
        span?.set({ ...answerAttributes(request, answer), ...(hasContent && answerContent(answer)) });
        return answer;
      });
    },
  };
}

/** A model without its provider. */
function modelIn(name: string): string {
  return name.slice(name.indexOf("/") + 1);
}

function requestAttributes({ model, maxOutputTokens }: ModelRequest): Attributes {
  return {
    [ATTR_GEN_AI_OPERATION_NAME]: "chat",
    [ATTR_GEN_AI_REQUEST_STREAM]: true,
    ...(model !== null && { [ATTR_GEN_AI_REQUEST_MODEL]: modelIn(model) }),
    ...(maxOutputTokens !== undefined && { [ATTR_GEN_AI_REQUEST_MAX_TOKENS]: maxOutputTokens }),
  };
}

function answerAttributes(request: ModelRequest, { usage }: ModelAnswer): Attributes {
  const { provider, model, input_tokens, output_tokens, cost_micro_usd } = usage;
  return {
    [ATTR_GEN_AI_PROVIDER_NAME]: PROVIDERS[provider] ?? provider,
    [ATTR_GEN_AI_RESPONSE_MODEL]: model,
    [ATTR_GEN_AI_USAGE_INPUT_TOKENS]: input_tokens,
    [ATTR_GEN_AI_USAGE_OUTPUT_TOKENS]: output_tokens,
    "synapse.cost_micro_usd": cost_micro_usd,
    ...(request.model === null && { [ATTR_GEN_AI_REQUEST_MODEL]: model }),
  };
}

function requestContent({ messages }: ModelRequest): Attributes {
  return {
    [ATTR_GEN_AI_INPUT_MESSAGES]: contentText(
      messages.map((message) => ({ role: message.role, parts: partsOf(message) })),
    ),
  };
}

function answerContent({ text, tool_calls }: ModelAnswer): Attributes {
  const parts = [...(text === "" ? [] : [textPart(text)]), ...tool_calls.map(toolCallPart)];
  const finish_reason = tool_calls.length > 0 ? "tool_call" : "stop";
  return { [ATTR_GEN_AI_OUTPUT_MESSAGES]: contentText([{ role: "assistant", parts, finish_reason }]) };
}

function partsOf(message: Message) {
  switch (message.role) {
    case "tool":
      return [toolResultPart(message.tool_call_id, message.content)];
    case "assistant":
      return [textPart(message.content), ...(message.tool_calls ?? []).map(toolCallPart)];
    case "system":
    case "user":
      return [textPart(message.content)];
  }
}
