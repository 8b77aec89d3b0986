import { costMicroUsd } from "./cost.ts";
import { estimatedTokens } from "./token-count.ts";
import type { Tokens } from "./cost.ts";
import type { ProviderReport } from "./provider-report.ts";
import type { ModelAnswer, ModelRequest } from "../engine/ports.ts";
import type { ModelName } from "../../shared/contracts/model-name.ts";
import type { ReplacedPrices } from "../../shared/contracts/model-price.ts";

/** About what providers count for an image of a usual size. */
const IMAGE_TOKENS = 1_000;

/**
 * The usage of a call so far: as the provider has reported it, else estimated by the size of what was sent and has come,
 * and marked. What a provider does not say is unknown, and never 0.
 * @param sentTokens `estimatedInput` of its request
 */
export function usageOf(
  name: ModelName,
  report: Pick<ProviderReport, "tokens" | "writtenBytes">,
  sentTokens: number,
  replaced: ReplacedPrices,
): ModelAnswer["usage"] {
  const { input = 0, cachedInput = 0, output = 0 } = report.tokens ?? {};
  // A report of no tokens at all is none: some servers write zeros, or words, for what they do not count.
  const isReported = input + output > 0;
  const tells = {
    input: isReported && report.tokens?.input !== undefined,
    // Some servers write 0 for an answer that has a text, or only at its beginning.
    output: isReported && (output > 0 || (report.tokens?.output === 0 && report.writtenBytes === 0)),
  };
  const tokens: Tokens = {
    input: tells.input ? input : sentTokens,
    cachedInput: tells.input ? cachedInput : 0,
    output: tells.output ? output : estimatedTokens(report.writtenBytes),
  };
  return {
    provider: name.provider,
    model: name.model,
    input_tokens: tokens.input,
    output_tokens: tokens.output,
    cost_micro_usd: costMicroUsd(name, tokens, replaced),
    ...(tells.input && (tells.output || tokens.output === 0) ? {} : { estimated: true as const }),
  };
}

/** About how many tokens a request has. Its time grows with the request: it is for once in a call, not for each piece of an answer. */
export function estimatedInput(request: Pick<ModelRequest, "messages" | "tools">): number {
  return estimatedTokens(sentBytes(request)) + countImages(request) * IMAGE_TOKENS;
}

export function countImages({ messages }: Pick<ModelRequest, "messages">): number {
  return messages.reduce((sum, each) => sum + (each.role === "user" ? (each.images ?? []).length : 0), 0);
}

/** The bytes of what a model reads of a request. No text of a message is copied for it: a conversation may have 16 MiB. */
export function sentBytes({ messages, tools }: Pick<ModelRequest, "messages" | "tools">): number {
  const ofMessages = messages.reduce((sum, message) => {
    const calls = message.role === "assistant" ? (message.tool_calls ?? []) : [];
    return sum + Buffer.byteLength(message.content) + (calls.length === 0 ? 0 : jsonBytes(calls));
  }, 0);
  return ofMessages + (tools.length === 0 ? 0 : jsonBytes(tools));
}

function jsonBytes(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}
