import type { ToolSet } from "ai";
import type { ReplacedPrices } from "../../shared/contracts/model-price.ts";
import type { ModelAnswer, ModelRequest, ToolSpec } from "../engine/ports.ts";
import type { BackgroundCall } from "./background-call.ts";
import type { LoopTurns } from "./loop-turns.ts";
import type { ModelAccess } from "./model-access.ts";
import { outputLimitOf } from "./output-limit.ts";
import type { ProviderReport } from "./provider-report.ts";
import { openModel } from "./providers.ts";
import type { RemoteModelName } from "./providers.ts";
import { loadSdk, withFetch } from "./sdk-call.ts";
import { toSdkMessages } from "./sdk-messages.ts";
import { StreamedAnswer } from "./streamed-answer.ts";

/** How the call reaches its provider, and the prices that the operator has set. */
export type StreamDeps = { access: ModelAccess; turns: LoopTurns; replaced(): ReplacedPrices };

/**
 * Streams one answer from a provider. `report` gets what the provider says of the call beside the answer; `onBytes` is called with
 * every byte that comes; `background`: the provider makes it without a connection.
 * @throws the provider's error, or the error of an incomplete answer
 */
export async function streamAnswer(
  { access, turns, replaced }: StreamDeps,
  name: RemoteModelName,
  request: ModelRequest,
  report: ProviderReport,
  onBytes: () => void,
  background: BackgroundCall | null,
): Promise<ModelAnswer> {
  const answer = new StreamedAnswer(name, request, report);
  const listeners = { onBytes, onText: (piece: string) => answer.addText(piece), turns };
  const { model, fetch } = await openModel(access, name, report, listeners, background);
  const maxOutputTokens = request.maxOutputTokens ?? outputLimitOf(name);
  const sdk = await loadSdk();
  await turns.next();
  try {
    // `streamText` has some ten streams in a row, for tools that it calls itself, and each costs time for every piece. This is one of them.
    const sdkCall = {
      model,
      messages: toSdkMessages(request.messages.map((message) => answer.names.sent(message))),
      allowSystemInMessages: true,
      tools: Object.fromEntries(answer.names.tools.map((spec) => [spec.name, toSdkTool(sdk, spec)])),
      ...(request.tools.length > 0 ? { toolChoice: request.toolChoice } : {}),
      headers: { "Idempotency-Key": request.effectKey },
      ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
      // An answer that is given back must not need what the provider stores for a time.
      ...(background === null ? {} : { providerOptions: { openai: { store: false } } }),
      abortSignal: request.signal,
    };
    const { stream } = await withFetch(fetch, () => sdk.experimental_streamLanguageModelCall(sdkCall));
    for await (const part of stream) answer.take(part);
  } catch (error) {
    request.signal.throwIfAborted();
    // The SDK gives up the stream over a call that it cannot read. What the provider reported still comes first.
    answer.fail(error);
  }
  return answer.finish(replaced());
}

function toSdkTool(sdk: typeof import("ai"), { description, parameters }: ToolSpec): ToolSet[string] {
  // Bedrock refuses an empty description (vercel/ai PR 10260).
  const described = description.trim() === "" ? {} : { description };
  return { ...described, inputSchema: sdk.jsonSchema(parameters) };
}
