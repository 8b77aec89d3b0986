import { z } from "zod";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { withTimeout, within } from "../execution/stop.ts";
import { modelError } from "./model-error.ts";
import { openModel } from "./providers.ts";
import { costMicroUsd } from "./cost.ts";
import type { FinishReason, LanguageModelUsage, ModelMessage, ToolSet } from "ai";
import type { Message, ModelAnswer, ModelRequest, ToolCall, ToolSpec } from "../engine/ports.ts";
import type { ModelName } from "./model-name.ts";
import type { ModelEnv } from "./providers.ts";

/** Imports the SDK at the first model call, and switches its warnings on the console off: the log has one line format. */
async function loadSdk(): Promise<typeof import("ai")> {
  Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });
  return import("ai");
}

type RemoteModelName = Parameters<typeof openModel>[1];

/**
 * One streamed call to a provider. The SDK makes no retries: they belong to the step.
 *
 * An incomplete answer is an error, never a success: a stream that ends without a finish reason (`model_cut`), and an
 * answer that the provider stopped (`content_filter`, `output_limit`). A provider that sends nothing for `silenceMs`,
 * before its answer or within it, fails the call with `model_timeout`. The limit is on silence and not on the whole
 * answer, because an answer may take as long as the step may.
 */
export async function generateRemote(
  env: ModelEnv,
  name: RemoteModelName,
  request: ModelRequest,
  silenceMs: number,
): Promise<ModelAnswer> {
  const label = `${name.provider}/${name.model}`;
  const limit = withTimeout(request.signal, silenceMs, () => {
    const message = `${label}: the provider sent nothing for ${silenceMs / 1_000} s`;
    return new RetryableError("model_timeout", message);
  });
  const { signal } = limit;
  try {
    signal.throwIfAborted();
    return await within(signal, stream(env, name, { ...request, signal }, limit.restart));
  } catch (error) {
    throw modelError(error, label, signal);
  } finally {
    limit.clear();
  }
}

async function stream(
  env: ModelEnv,
  name: RemoteModelName,
  request: ModelRequest,
  onBytes: () => void,
): Promise<ModelAnswer> {
  const model = await openModel(env, name, onBytes);
  const sdk = await loadSdk();
  const result = sdk.streamText({
    model,
    messages: request.messages.flatMap(toSdkMessages),
    allowSystemInMessages: true,
    tools: Object.fromEntries(request.tools.map((spec) => [spec.name, toSdkTool(sdk, spec)])),
    ...(request.tools.length > 0 ? { toolChoice: request.toolChoice } : {}),
    headers: { "Idempotency-Key": request.effectKey },
    maxRetries: 0,
    abortSignal: request.signal,
    // The stream delivers errors too; the default handler would print them.
    onError: () => {},
  });
  let text = "";
  const calls: ToolCall[] = [];
  for await (const part of result.fullStream) {
    switch (part.type) {
      case "text-delta":
        text += part.text;
        request.onText(part.text);
        break;
      case "tool-call":
        calls.push({
          id: part.toolCallId,
          name: part.toolName,
          args: JsonValue.catch(null).parse(part.input),
        });
        break;
      case "error":
        throw part.error;
      case "abort":
        throw request.signal.reason;
      case "finish":
        return answerOf(name, text, calls, part);
      default:
        break;
    }
  }
  throw cutError(name);
}

function answerOf(
  name: ModelName,
  text: string,
  tool_calls: ToolCall[],
  finish: { finishReason: FinishReason; totalUsage: LanguageModelUsage },
): ModelAnswer {
  const label = `${name.provider}/${name.model}`;
  switch (finish.finishReason) {
    case "content-filter":
      throw new TerminalError("content_filter", `${label}: the provider withheld the answer`);
    case "length":
      throw new TerminalError("output_limit", `${label}: the answer was cut off at the model's output limit`);
    case "error":
    case "interrupted":
      throw cutError(name);
    case "stop":
    case "tool-calls":
    case "other":
      return { text, tool_calls, usage: usageOf(name, finish.totalUsage) };
  }
}

function cutError(name: ModelName): RetryableError {
  return new RetryableError(
    "model_cut",
    `${name.provider}/${name.model}: the answer was cut off in the middle`,
  );
}

function usageOf(name: ModelName, usage: LanguageModelUsage): ModelAnswer["usage"] {
  const tokens = {
    input: usage.inputTokens ?? 0,
    cachedInput: usage.inputTokenDetails.cacheReadTokens ?? 0,
    output: usage.outputTokens ?? 0,
  };
  return {
    provider: name.provider,
    model: name.model,
    input_tokens: tokens.input,
    output_tokens: tokens.output,
    cost_micro_usd: costMicroUsd(name.model, tokens),
  };
}

function toSdkTool(sdk: typeof import("ai"), spec: ToolSpec): ToolSet[string] {
  return { description: spec.description, inputSchema: sdk.jsonSchema(spec.parameters) };
}

const Arguments = z.record(z.string(), z.unknown()).catch({});

function toSdkMessages(message: Message): ModelMessage[] {
  switch (message.role) {
    case "system":
    case "user":
      return [message];
    case "assistant": {
      const calls = (message.tool_calls ?? []).map((call) => ({
        type: "tool-call" as const,
        toolCallId: call.id,
        toolName: call.name,
        input: Arguments.parse(call.args),
      }));
      const text = message.content === "" ? [] : [{ type: "text" as const, text: message.content }];
      return text.length + calls.length === 0 ? [] : [{ role: "assistant", content: [...text, ...calls] }];
    }
    case "tool": {
      const output = { type: "text" as const, value: message.content };
      const result = {
        type: "tool-result" as const,
        toolCallId: message.tool_call_id,
        toolName: message.tool_name,
        output,
      };
      return [{ role: "tool", content: [result] }];
    }
  }
}
