import { argumentsOf } from "../engine/tool-arguments.ts";
import { ArgumentNames } from "./argument-names.ts";
import { AnswerText } from "./answer-text.ts";
import { PartCollector } from "./answer-parts.ts";
import { isToolChoiceViolation } from "./model-error.ts";
import { outputLimitOf } from "./output-limit.ts";
import { openModel } from "./providers.ts";
import { leftOut, refuseIncomplete, refuseMedia } from "./refuse-incomplete.ts";
import { loadSdk, withFetch } from "./sdk-call.ts";
import { toSdkMessages } from "./sdk-messages.ts";
import { CallStarts, callsAtEnd } from "./call-starts.ts";
import { callOfTool } from "./text-calls.ts";
import { toolNameOf } from "./tool-name.ts";
import type { ToolSet } from "ai";
import { estimatedInput, usageOf } from "./call-usage.ts";
import type { Message, ModelAnswer, ModelRequest, ToolCall, ToolSpec } from "../engine/ports.ts";
import type { CallsAtEnd } from "./call-starts.ts";
import type { ModelAccess } from "./model-access.ts";
import type { ReplacedPrices } from "../../shared/contracts/model-price.ts";
import type { LoopTurns } from "./loop-turns.ts";
import type { ProviderReport } from "./provider-report.ts";
import type { BackgroundCall } from "./background-call.ts";

/** A model of a provider that is called over the network. */
export type RemoteModelName = Parameters<typeof openModel>[1];

/** How the call reaches its provider, and the prices that the operator has set. */
export type StreamDeps = { access: ModelAccess; turns: LoopTurns; replaced(): ReplacedPrices };

/**
 * Streams one answer from a provider, and puts its parts together. `report` gets what the provider says of the call beside
 * the answer; `onBytes` is called with every byte that comes; `background`: the provider makes it without a connection.
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
  const names = new ArgumentNames(request.tools);
  const parts = new PartCollector();
  const calls: ToolCall[] = [];
  const ids = new Set(request.messages.flatMap(callIdsOf));
  /** The arguments of calls as the model writes them, by the id of the call. */
  const written = new Map<string, string>();
  /** Steps that force a tool read its arguments from the text. */
  const offered = request.toolChoice === "auto" ? names.tools : [];
  const text = new AnswerText(request, parts, offered.length > 0);
  let failure: unknown;
  const addText = (id: string, piece: string, metadata?: unknown): void => {
    report.writtenBytes += Buffer.byteLength(piece);
    text.add(id, piece, metadata);
  };
  // An error here fails the call as one in the loop below does: the reader of the response would take it for a lost connection.
  const onText = (piece: string): void => {
    try {
      addText("", piece);
    } catch (error) {
      failure ??= error;
    }
  };
  const { model, fetch } = await openModel(access, name, report, { onBytes, onText, turns }, background);
  const maxOutputTokens = request.maxOutputTokens ?? outputLimitOf(name);
  const sdk = await loadSdk();
  await turns.next();
  try {
    // `streamText` has some ten streams in a row, for tools that it calls itself, and each costs time for every piece. This is one of them.
    const sdkCall = {
      model,
      messages: toSdkMessages(request.messages.map((message) => names.sent(message))),
      allowSystemInMessages: true,
      tools: Object.fromEntries(names.tools.map((spec) => [spec.name, toSdkTool(sdk, spec)])),
      ...(request.tools.length > 0 ? { toolChoice: request.toolChoice } : {}),
      headers: { "Idempotency-Key": request.effectKey },
      ...(maxOutputTokens === undefined ? {} : { maxOutputTokens }),
      // An answer that is given back must not need what the provider stores for a time.
      ...(background === null ? {} : { providerOptions: { openai: { store: false } } }),
      abortSignal: request.signal,
    };
    const { stream } = await withFetch(fetch, () => sdk.experimental_streamLanguageModelCall(sdkCall));
    for await (const part of stream) {
      switch (part.type) {
        case "text-start":
        case "reasoning-start":
          parts.text(part.type === "text-start" ? "text" : "reasoning", part.id, "", part.providerMetadata);
          break;
        case "text-delta":
          addText(part.id, part.text, part.providerMetadata);
          break;
        case "reasoning-delta":
          parts.text("reasoning", part.id, part.text, part.providerMetadata);
          report.writtenBytes += Buffer.byteLength(part.text);
          break;
        case "text-end":
        case "reasoning-end":
          if (part.type === "text-end") text.endPart(part.id);
          parts.end(part.type === "text-end" ? "text" : "reasoning", part.id, part.providerMetadata);
          break;
        case "tool-input-delta":
          written.set(part.id, (written.get(part.id) ?? "") + part.delta);
          report.writtenBytes += Buffer.byteLength(part.delta);
          break;
        case "tool-call": {
          const id = unusedId(part.toolCallId, ids);
          parts.call(id, part.providerMetadata);
          // The SDK rounds long integers, and gives up on text around the arguments.
          const args = written.get(part.toolCallId) ?? JSON.stringify(part.input ?? null);
          written.delete(part.toolCallId);
          const tool = toolNameOf(part.toolName, report.tools);
          calls.push({ id, name: tool, args: names.own(tool, argumentsOf(args) ?? args) });
          break;
        }
        case "error":
          failure ??= isToolChoiceViolation(part.error) ? undefined : part.error;
          break;
        default:
          break;
      }
    }
  } catch (error) {
    request.signal.throwIfAborted();
    // The SDK gives up the stream over a call that it cannot read. What the provider reported still comes first.
    failure ??= error;
  }
  text.end();
  const textCalls = calls.length > 0 ? null : callsOf(text, report, offered);
  for (const { name: tool, args } of textCalls?.calls ?? []) {
    const id = unusedId("call00001", ids);
    parts.call(id, undefined);
    calls.push({ id, name: tool, args: names.own(tool, args) });
  }
  if (textCalls !== null) text.dropFrom(textCalls.at);
  else text.release(text.calls.map(({ args }) => args).join("\n"));
  refuseIncomplete(name, report, calls, failure);
  if (calls.length === 0 && text.text.trim() === "") refuseMedia(name, report);
  // Steps that force a tool read their text as JSON.
  if (calls.length === 0 && request.toolChoice === "auto") text.release(leftOut(report));
  const answer = {
    text: text.text,
    tool_calls: calls,
    usage: usageOf(name, report, estimatedInput(request), replaced()),
  };
  const opaque = parts.parts(report.opaque, answer.text);
  return opaque === undefined ? answer : { ...answer, parts: opaque };
}

/**
 * The calls that the model has written in place of a text, or at the end of it; without a text those at the end of a thought, of which the
 * server has not seen that it ended. Null: there are none.
 */
function callsOf(
  { text, thought, callStarts, calls }: AnswerText,
  { opaque }: ProviderReport,
  tools: readonly ToolSpec[],
): CallsAtEnd | null {
  if (text.trim() !== "") return callsAtEnd(text, [0, ...callStarts], tools);
  const read = calls.map(({ name, args }) => callOfTool(name, args, tools));
  if (read.length > 0) return read.every((call) => call !== null) ? { calls: read, at: 0 } : null;
  if (tools.length === 0) return null;
  for (const each of [thought, ...Object.values(opaque)]) {
    const starts = new CallStarts();
    if (typeof each !== "string") continue;
    starts.push(each);
    const found = callsAtEnd(each, starts.at, tools);
    if (found !== null) return { ...found, at: 0 };
  }
  return null;
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

function toSdkTool(sdk: typeof import("ai"), { description, parameters }: ToolSpec): ToolSet[string] {
  // Bedrock refuses an empty description (vercel/ai PR 10260).
  const described = description.trim() === "" ? {} : { description };
  return { ...described, inputSchema: sdk.jsonSchema(parameters) };
}
