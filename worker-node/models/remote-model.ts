import { RetryableError } from "../engine/step-errors.ts";
import { argumentsOf } from "../engine/tool-arguments.ts";
import { withTimeout, within } from "../execution/stop.ts";
import { PartCollector } from "./answer-parts.ts";
import { costMicroUsd } from "./cost.ts";
import { isToolChoiceViolation, modelError, refusesToolChoice } from "./model-error.ts";
import { openModel } from "./providers.ts";
import { refuseIncomplete } from "./refuse-incomplete.ts";
import { toSdkMessages } from "./sdk-messages.ts";
import { Thoughts } from "./thoughts.ts";
import { emptyReport } from "./provider-report.ts";
import { toolNameOf } from "./tool-name.ts";
import type { ToolSet } from "ai";
import { estimatedTokens } from "./token-count.ts";
import type { Tokens } from "./cost.ts";
import type { Message, ModelAnswer, ModelRequest, ToolCall, ToolSpec } from "../engine/ports.ts";
import type { ModelName } from "../../shared/contracts/model-name.ts";
import type { AnswerPiece } from "./thoughts.ts";
import type { ModelEnv } from "./providers.ts";
import type { ProviderReport } from "./provider-report.ts";

/** Imports the SDK at the first model call, and disables its warnings on the console: the log has one line format. */
async function loadSdk(): Promise<typeof import("ai")> {
  Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });
  return import("ai");
}

type RemoteModelName = Parameters<typeof openModel>[1];

/** What the model calls of a worker share. */
export type RemoteDeps = {
  env: ModelEnv;
  /** A provider that sends nothing for so long has failed. */
  silenceMs: number;
  /** Models whose server refuses a forced tool choice and takes the same request without. */
  withoutToolChoice: Set<string>;
};

/** Models of one worker whose servers refuse a tool choice. The names come from definitions, so their number is bounded. */
const MAX_REMEMBERED = 1_000;

/**
 * One streamed call to a provider. The SDK makes no retries: they belong to the step.
 *
 * An incomplete answer is an error, never a success: an answer that ends without a word that means a complete one
 * (`model_cut`), and one that the provider stopped (`content_filter`, `output_limit`). A provider that sends nothing for
 * `silenceMs`, before its answer or within it, fails the call with `model_timeout`. The limit is on silence and not on the
 * whole answer, because an answer may take as long as the step may.
 *
 * The engine forces a tool choice, not the definition. When the server refuses a request with a forced choice, the request is
 * made once more without; when that fails too, the first refusal is reported.
 */
export async function generateRemote(
  deps: RemoteDeps,
  name: RemoteModelName,
  request: ModelRequest,
): Promise<ModelAnswer> {
  const label = `${name.provider}/${name.model}`;
  if (request.toolChoice !== "required" || request.tools.length === 0) return attempt(deps, name, request);
  const unforced = { ...request, toolChoice: "auto" as const };
  if (deps.withoutToolChoice.has(label)) return attempt(deps, name, unforced);
  let ofRefusal = NO_USAGE;
  const onUsage = (usage: CallUsage): void => {
    ofRefusal = usage;
    request.onUsage?.(usage);
  };
  try {
    return await attempt(deps, name, { ...request, onUsage });
  } catch (refusal) {
    if (!refusesToolChoice(refusal)) throw refusal;
    const again = attempt(deps, name, {
      ...unforced,
      // Another body needs another key.
      effectKey: `${request.effectKey}.auto`,
      onUsage: (usage) => request.onUsage?.(sumOf(usage, ofRefusal)),
    });
    const answer = await again.catch((error: unknown) => {
      throw request.signal.aborted ? error : refusal;
    });
    if (deps.withoutToolChoice.size < MAX_REMEMBERED) deps.withoutToolChoice.add(label);
    return { ...answer, usage: sumOf(answer.usage, ofRefusal) };
  }
}

type CallUsage = ModelAnswer["usage"];
type Counts = Pick<CallUsage, "input_tokens" | "output_tokens" | "cost_micro_usd">;
const NO_USAGE: Counts = { input_tokens: 0, output_tokens: 0, cost_micro_usd: 0 };

/** The usage of two requests that are one call of a step. */
function sumOf(usage: CallUsage, more: Counts): CallUsage {
  return {
    ...usage,
    input_tokens: usage.input_tokens + more.input_tokens,
    output_tokens: usage.output_tokens + more.output_tokens,
    cost_micro_usd: usage.cost_micro_usd + more.cost_micro_usd,
  };
}

async function attempt(
  { env, silenceMs }: RemoteDeps,
  name: RemoteModelName,
  request: ModelRequest,
): Promise<ModelAnswer> {
  const label = `${name.provider}/${name.model}`;
  const report = emptyReport(request.tools.map((tool) => tool.name));
  const limit = withTimeout(request.signal, silenceMs, () => {
    const message = `${label}: the provider sent nothing for ${silenceMs / 1_000} s`;
    return new RetryableError("model_timeout", message);
  });
  const { signal } = limit;
  // With every byte, so that the reported usage is charged also when the call fails later.
  const onBytes = (): void => {
    limit.restart();
    if (report.tokens !== undefined) request.onUsage?.(usageOf(name, report));
  };
  try {
    signal.throwIfAborted();
    return await within(signal, stream(env, name, { ...request, signal }, report, onBytes));
  } catch (error) {
    throw modelError(error, label, signal);
  } finally {
    if (report.tokens !== undefined) request.onUsage?.(usageOf(name, report));
    limit.clear();
  }
}

async function stream(
  env: ModelEnv,
  name: RemoteModelName,
  request: ModelRequest,
  report: ProviderReport,
  onBytes: () => void,
): Promise<ModelAnswer> {
  const model = await openModel(env, name, report, onBytes);
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
  const thoughts = new Thoughts();
  const parts = new PartCollector();
  const calls: ToolCall[] = [];
  const ids = new Set(request.messages.flatMap(callIdsOf));
  /** The arguments of calls as the model writes them, by the id of the call. */
  const written = new Map<string, string>();
  let text = "";
  let failure: unknown;
  const publish = (piece: AnswerPiece): void => {
    if (piece.restarts) {
      text = "";
      request.onRestart?.();
    }
    text += piece.text;
    if (piece.text !== "") request.onText(piece.text);
  };
  try {
    for await (const part of result.fullStream) {
      switch (part.type) {
        case "text-start":
        case "reasoning-start":
          parts.text(part.type === "text-start" ? "text" : "reasoning", part.id, "", part.providerMetadata);
          break;
        case "text-delta":
          parts.text("text", part.id, part.text, part.providerMetadata);
          publish(thoughts.push(part.text));
          break;
        case "reasoning-delta":
          parts.text("reasoning", part.id, part.text, part.providerMetadata);
          break;
        case "text-end":
        case "reasoning-end":
          parts.end(part.type === "text-end" ? "text" : "reasoning", part.id, part.providerMetadata);
          break;
        case "tool-input-delta":
          written.set(part.id, (written.get(part.id) ?? "") + part.delta);
          break;
        case "tool-call": {
          const id = unusedId(part.toolCallId, ids);
          parts.call(id, part.providerMetadata);
          // The SDK rounds long integers, and gives up on text around the arguments.
          const args = written.get(part.toolCallId) ?? JSON.stringify(part.input ?? null);
          written.delete(part.toolCallId);
          calls.push({ id, name: toolNameOf(part.toolName, report.tools), args: argumentsOf(args) ?? args });
          break;
        }
        case "error":
          failure ??= isToolChoiceViolation(part.error) ? undefined : part.error;
          break;
        case "abort":
          throw request.signal.reason;
        default:
          break;
      }
    }
  } catch (error) {
    request.signal.throwIfAborted();
    // The SDK gives up the stream over a call that it cannot read. What the provider reported still comes first.
    failure ??= error;
  }
  refuseIncomplete(name, report, calls, failure);
  publish(thoughts.end());
  // A limit on money must hold for a provider that reports no tokens as well.
  if (request.mustHavePrice === true) report.tokens ??= estimated(request, text, calls);
  const answer = { text, tool_calls: calls, usage: usageOf(name, report) };
  const opaque = parts.parts(report.opaque, answer.text);
  return opaque === undefined ? answer : { ...answer, parts: opaque };
}

/** The tokens of a call by the length of its texts. */
function estimated(request: ModelRequest, text: string, calls: readonly ToolCall[]): Tokens {
  // Providers count an image by its size in pixels, not by its bytes.
  const messages = request.messages.map((message) => ({ ...message, images: undefined }));
  const sent = JSON.stringify([messages, request.tools]);
  return {
    input: estimatedTokens(sent),
    cachedInput: 0,
    output: estimatedTokens(text + (calls.length === 0 ? "" : JSON.stringify(calls))),
  };
}

function callIdsOf(message: Message): string[] {
  return message.role === "assistant" ? (message.tool_calls ?? []).map(({ id }) => id) : [];
}

/**
 * The id of a call, changed when another call of the conversation has it, and added to `ids`. Servers repeat ids within an
 * answer and from turn to turn; a result would then belong to the wrong call, and Anthropic refuses the conversation.
 */
function unusedId(id: string, ids: Set<string>): string {
  let unused = id;
  for (let n = 2; ids.has(unused); n++) unused = `${id}_${n}`;
  ids.add(unused);
  return unused;
}

function usageOf(name: ModelName, { tokens }: ProviderReport): ModelAnswer["usage"] {
  const counted = tokens ?? { input: 0, cachedInput: 0, output: 0 };
  return {
    provider: name.provider,
    model: name.model,
    input_tokens: counted.input,
    output_tokens: counted.output,
    cost_micro_usd: costMicroUsd(name, counted),
  };
}

function toSdkTool(sdk: typeof import("ai"), spec: ToolSpec): ToolSet[string] {
  return { description: spec.description, inputSchema: sdk.jsonSchema(spec.parameters) };
}
