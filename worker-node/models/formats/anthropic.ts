import { randomUUID } from "node:crypto";
import { isObject, listOf, objectOf } from "../../../shared/contracts/json.ts";
import { errorOfEvent } from "./event-error.ts";
import { textOf, without } from "../json-fields.ts";
import { isCount, tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { noteCounts } from "../provider-report.ts";
import type { Format, ProviderReport, ReportedTokens } from "../provider-report.ts";

/** The events of the Messages API that hold an answer. Others, such as `ping` and ones that are not known yet, hold none. */
const ANSWER_EVENTS = new Set([
  "message_start",
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop",
]);

/** The Messages API of Anthropic. */
export const anthropicFormat: Format = {
  read(event, name, report, onText) {
    const type = textOf(event["type"]);
    const isAnswer = type !== undefined && (ANSWER_EVENTS.has(type) || type === "message");
    // The type of an event that is not known yet is not that of an error.
    const error = errorOfEvent(type === "error" ? event : without(event, "type"), name, isAnswer);
    if (error !== undefined) {
      report.error ??= error;
      return [];
    }
    // An answer that is not streamed.
    if (type === "message")
      return eventsOf(event).flatMap((each) => anthropicFormat.read(each, undefined, report, onText));
    if (type === undefined || !ANSWER_EVENTS.has(type)) return [];
    if (type === "message_start") {
      const message = objectOf(event["message"]);
      noteCounts(report, message["usage"], tokensOf);
      return [{ type, message: { ...names(message), usage: { input_tokens: 0 } } }];
    }
    if (type === "message_delta") {
      // These counts are sums for the whole message.
      if (dividesPrompt(event["usage"], report)) report.counts = without(report.counts, "input_tokens");
      noteCounts(report, event["usage"], tokensOf);
      const delta = objectOf(event["delta"]);
      if (typeof delta["stop_reason"] === "string") report.finish = delta["stop_reason"];
      return [{ type, delta: { stop_reason: report.finish ?? null }, usage: { output_tokens: 0 } }];
    }
    if (type === "message_stop") {
      report.done = true;
      return [{ type }];
    }
    const index = tokenCount(event["index"]);
    if (type === "content_block_start") return startOf(objectOf(event["content_block"]), index, report);
    if (type === "content_block_delta") return deltaOf(objectOf(event["delta"]), index, report);
    const isKnown = report.blocks.get(index) === true;
    report.blocks.delete(index);
    return isKnown ? [{ type, index }] : [];
  },
};

/** What the SDK reads of the start. It gives up on a field of another type, also on one that it does not need. */
function names({ id, model }: JsonObject): JsonObject {
  return { ...(textOf(id) ? { id: id ?? "" } : {}), ...(textOf(model) ? { model: model ?? "" } : {}) };
}

/** The events that a stream of the same message has. */
function eventsOf(message: JsonObject): JsonObject[] {
  const { content, stop_reason = null, usage = {} } = message;
  const blocks = listOf(content).map(objectOf);
  return [
    { type: "message_start", message: { ...message, content: [] } },
    ...blocks.flatMap((content_block, index) => [
      { type: "content_block_start", index, content_block },
      { type: "content_block_stop", index },
    ]),
    { type: "message_delta", delta: { stop_reason, stop_sequence: null }, usage },
    { type: "message_stop" },
  ];
}

/** `iterations`, where it is reported, has all that is billed at the model's own price; the sums beside it do not. */
function tokensOf(usage: JsonObject): ReportedTokens {
  const iterations = listOf(usage["iterations"]).map(objectOf);
  const isServedByFallback = iterations.some((each) => each["type"] === "fallback_message");
  const own = iterations.filter((each) => each["type"] === "compaction" || each["type"] === "message");
  const counted = isServedByFallback || own.length === 0 ? [usage] : own;
  const sum = (field: string) => counted.reduce((total, each) => total + tokenCount(each[field]), 0);
  const cachedInput = tokenCount(usage["cache_read_input_tokens"]);
  const written = tokenCount(usage["cache_creation_input_tokens"]);
  const tells = (field: string) => counted.some((each) => isCount(each[field]));
  const isInputTold = tells("input_tokens") || cachedInput + written > 0;
  return {
    input: isInputTold ? tokenCount(sum("input_tokens") + cachedInput + written) : undefined,
    cachedInput,
    output: tells("output_tokens") ? tokenCount(sum("output_tokens")) : undefined,
  };
}

/** Whether counts divide the prompt, of which the start of the message has only the whole: `input_tokens` is then the rest. */
function dividesPrompt(usage: Json | undefined, { counts }: ProviderReport): boolean {
  const cached = (of: JsonObject) =>
    tokenCount(of["cache_read_input_tokens"]) + tokenCount(of["cache_creation_input_tokens"]);
  const later = objectOf(usage);
  return isCount(later["input_tokens"]) && cached(later) > 0 && cached(counts) === 0;
}

/** The blocks that an answer to our requests is made of. Others, also ones that are not known yet, are passed over. */
const BLOCKS = new Set(["text", "thinking", "redacted_thinking", "tool_use", "compaction"]);

/**
 * The start of a block, without what it already holds, and the deltas that bring it: the SDK reads a text from deltas alone.
 * Gateways send null where the block's text or arguments are still to come, and leave out the id of a call.
 */
function startOf(content: JsonObject, index: number, report: ProviderReport): JsonObject[] {
  const { input, signature, ...block } = content;
  const type = textOf(block["type"]) ?? "";
  report.blocks.set(index, BLOCKS.has(type));
  if (!BLOCKS.has(type)) return [];
  const start = (fields: JsonObject) => ({ type: "content_block_start", index, content_block: fields });
  if (type === "tool_use") {
    const id = textOf(block["id"]) ?? `toolu_${randomUUID()}`;
    const begun = start({ ...block, id, ...(isObject(input) ? { input } : {}) });
    if (!textOf(input)) return [begun];
    // Gateways of OpenAI's form keep the arguments as JSON text.
    const delta = { type: "input_json_delta", partial_json: input ?? "" };
    return [begun, { type: "content_block_delta", index, delta }];
  }
  if (type !== "text" && type !== "thinking") return [start(block)];
  const deltas: JsonObject[] = [];
  if (textOf(block[type])) deltas.push({ type: `${type}_delta`, [type]: block[type] ?? "" });
  if (textOf(signature)) deltas.push({ type: "signature_delta", signature: signature ?? "" });
  return [
    start({ type, [type]: "" }),
    ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
  ];
}

/** A piece of a block that the SDK knows. A text whose block has not begun begins it. */
function deltaOf(delta: JsonObject, index: number, report: ProviderReport): JsonObject[] {
  const type = textOf(delta["type"]) ?? "";
  const [, ofBlock = ""] = /^(text|thinking)_delta$/.exec(type) ?? [];
  const isFirst = ofBlock !== "" && !report.blocks.has(index);
  const start = isFirst ? startOf({ type: ofBlock, [ofBlock]: "" }, index, report) : [];
  if (report.blocks.get(index) !== true || !DELTAS.has(type)) return start;
  const json = delta["partial_json"];
  const isText = type !== "input_json_delta" || typeof json === "string";
  const written = json === undefined || json === null ? "" : JSON.stringify(json);
  const read = isText ? delta : { ...delta, partial_json: written };
  return [...start, { type: "content_block_delta", index, delta: read }];
}

/** Citations are none of them: the SDK gives up on a kind that it does not know, and steps have no use for any. */
const DELTAS = new Set([
  "text_delta",
  "thinking_delta",
  "signature_delta",
  "input_json_delta",
  "compaction_delta",
]);
