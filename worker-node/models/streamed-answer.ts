import { TerminalError } from "../engine/step-errors.ts";
import { argumentsOf } from "../engine/tool-arguments.ts";
import type { LanguageModelStreamPart } from "ai";
import type { Json } from "../../shared/contracts/json.ts";
import type { Message, ModelAnswer, ModelRequest, ToolCall, ToolSpec } from "../engine/ports.ts";
import type { ReplacedPrices } from "../../shared/contracts/model-price.ts";
import { PartCollector } from "./answer-parts.ts";
import { AnswerText } from "./answer-text.ts";
import { ArgumentNames } from "./argument-names.ts";
import { CallStarts, callsAtEnd } from "./call-starts.ts";
import type { CallsAtEnd } from "./call-starts.ts";
import { estimatedInput, usageOf } from "./call-usage.ts";
import { isToolChoiceViolation } from "./model-error.ts";
import { MAX_ANSWER_BYTES, MAX_CALLS, isTooLarge } from "./provider-report.ts";
import type { ProviderReport } from "./provider-report.ts";
import type { RemoteModelName } from "./providers.ts";
import { leftOut, refuseIncomplete, refuseMedia } from "./refuse-incomplete.ts";
import { callOfTool } from "./text-calls.ts";
import { toolNameOf } from "./tool-name.ts";

const LARGE = `is larger than ${MAX_ANSWER_BYTES} bytes`;

/** An answer while it arrives: the parts of the SDK's stream go in, and `finish` returns the whole. */
export class StreamedAnswer {
  readonly #name: RemoteModelName;
  readonly #request: ModelRequest;
  readonly #report: ProviderReport;
  readonly #parts = new PartCollector();
  readonly #text: AnswerText;
  readonly #calls: ToolCall[] = [];
  /** The ids of all calls of the conversation. */
  readonly #ids: Set<string>;
  /** The arguments of calls as the model writes them, by the id of the call. */
  readonly #written = new Map<string, string>();
  /** The tools whose calls may be text. Steps that force a tool read its arguments from the text. */
  readonly #offered: readonly ToolSpec[];
  #failure: unknown;
  /** The names of arguments, as the provider knows them. */
  readonly names: ArgumentNames;

  constructor(name: RemoteModelName, request: ModelRequest, report: ProviderReport) {
    this.#name = name;
    this.#request = request;
    this.#report = report;
    this.names = new ArgumentNames(request.tools);
    this.#ids = new Set(request.messages.flatMap(callIdsOf));
    this.#offered = request.toolChoice === "auto" ? this.names.tools : [];
    this.#text = new AnswerText(request, this.#parts, this.#offered.length > 0);
  }

  /** Adds text that the SDK does not read. An error here fails the call at its end: the reader of the response would take it for a lost connection. */
  addText(piece: string): void {
    try {
      this.#add("", piece);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Notes why the stream has ended. The first reason counts. */
  fail(error: unknown): void {
    this.#failure ??= error;
  }

  take(part: LanguageModelStreamPart): void {
    switch (part.type) {
      case "text-start":
      case "reasoning-start":
        this.#parts.text(
          part.type === "text-start" ? "text" : "reasoning",
          part.id,
          "",
          part.providerMetadata,
        );
        break;
      case "text-delta":
        this.#add(part.id, part.text, part.providerMetadata);
        break;
      case "reasoning-delta":
        this.#count(part.text);
        this.#parts.text("reasoning", part.id, part.text, part.providerMetadata);
        break;
      case "text-end":
      case "reasoning-end":
        if (part.type === "text-end") this.#text.endPart(part.id);
        this.#parts.end(part.type === "text-end" ? "text" : "reasoning", part.id, part.providerMetadata);
        break;
      case "tool-input-delta":
        this.#count(part.delta);
        this.#written.set(part.id, (this.#written.get(part.id) ?? "") + part.delta);
        break;
      case "tool-call":
        this.#takeCall(part);
        break;
      case "error":
        if (!isToolChoiceViolation(part.error)) this.fail(part.error);
        break;
      default:
        break;
    }
  }

  #add(id: string, piece: string, metadata?: unknown): void {
    this.#count(piece);
    this.#text.add(id, piece, metadata);
  }

  /** Counts what the model has written. @throws TerminalError when it is more than an answer may have */
  #count(piece: string): void {
    this.#report.writtenBytes += Buffer.byteLength(piece);
    if (isTooLarge(this.#report)) throw this.#excess(LARGE);
  }

  /** No other try would be better: models write so much when they repeat themselves. */
  #excess(what: string): TerminalError {
    const { provider, model } = this.#name;
    return new TerminalError("answer_too_large", `${provider}/${model}: the answer ${what}`);
  }

  #takeCall({
    toolCallId,
    toolName,
    input,
    providerMetadata,
  }: Extract<LanguageModelStreamPart, { type: "tool-call" }>): void {
    // The SDK rounds long integers, and gives up on text around the arguments.
    const args = this.#written.get(toolCallId) ?? JSON.stringify(input ?? null);
    this.#written.delete(toolCallId);
    this.#addCall(toolCallId, toolNameOf(toolName, this.#report.tools), args, providerMetadata);
  }

  /** Adds a call, with the arguments under the tool's own names. */
  #addCall(givenId: string, name: string, args: Json, metadata: unknown): void {
    if (this.#calls.length === MAX_CALLS) throw this.#excess(`has more than ${MAX_CALLS} tool calls`);
    const id = unusedId(givenId, this.#ids);
    this.#parts.call(id, metadata);
    this.#calls.push({ id, name, args: this.names.own(name, argumentsOf(args) ?? args) });
  }

  /** The answer, at the end of the stream. @throws the provider's error, or the error of an incomplete answer */
  finish(replaced: ReplacedPrices): ModelAnswer {
    const [text, report, request] = [this.#text, this.#report, this.#request];
    text.end();
    const textCalls = this.#calls.length > 0 ? null : callsOf(text, report, this.#offered);
    for (const { name, args } of textCalls?.calls ?? []) this.#addCall("call00001", name, args, undefined);
    if (textCalls !== null) text.dropFrom(textCalls.at);
    else text.release(text.calls.map(({ args }) => args).join("\n"));
    // Reading has stopped there, which the SDK takes for a fault of the provider.
    const failure = isTooLarge(report) ? this.#excess(LARGE) : this.#failure;
    refuseIncomplete(this.#name, report, this.#calls, failure);
    if (this.#calls.length === 0 && text.text.trim() === "") refuseMedia(this.#name, report);
    // Steps that force a tool read their text as JSON.
    if (this.#calls.length === 0 && request.toolChoice === "auto") text.release(leftOut(report));
    const usage = usageOf(this.#name, report, estimatedInput(request), replaced);
    const answer = { text: text.text, tool_calls: this.#calls, usage };
    const parts = this.#parts.parts(report.opaque, answer.text);
    return parts === undefined ? answer : { ...answer, parts };
  }
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
