import { isObject } from "../../../shared/contracts/json.ts";
import { listOf, objectOf, textOf } from "../json-fields.ts";
import { tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { Tokens } from "../cost.ts";
import { noteCounts } from "../provider-report.ts";
import type { Format } from "../provider-report.ts";

/** The events of the Messages API that hold an answer. Others, such as `ping` and ones that are not known yet, hold none. */
const ANSWER_EVENTS = new Set([
  "message_start",
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop",
]);

export const anthropicFormat: Format = {
  read(event, name, report) {
    const type = textOf(event["type"]);
    if (isObject(event["error"]) || textOf(event["error"]) || type === "error" || name === "error") {
      report.error ??= event["error"] ?? event;
      return [];
    }
    // An answer that is not streamed.
    if (type === "message")
      return eventsOf(event).flatMap((each) => anthropicFormat.read(each, undefined, report));
    if (type === undefined || !ANSWER_EVENTS.has(type)) return [];
    if (type === "message_start") {
      const message = objectOf(event["message"]);
      noteCounts(report, message["usage"], tokensOf);
      return [{ ...event, message: { ...message, usage: { input_tokens: 0 } } }];
    }
    if (type === "message_delta") {
      // These counts are sums for the whole message.
      noteCounts(report, event["usage"], tokensOf);
      const delta = objectOf(event["delta"]);
      if (typeof delta["stop_reason"] === "string") report.finish = delta["stop_reason"];
      return [{ ...event, delta, usage: { output_tokens: 0 } }];
    }
    if (type === "message_stop") report.done = true;
    if (type === "content_block_start") return startOf(event);
    if (type === "content_block_delta") return [{ ...event, delta: deltaOf(event["delta"]) }];
    return [event];
  },
};

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
function tokensOf(usage: JsonObject): Tokens {
  const iterations = listOf(usage["iterations"]).map(objectOf);
  const isServedByFallback = iterations.some((each) => each["type"] === "fallback_message");
  const own = iterations.filter((each) => each["type"] === "compaction" || each["type"] === "message");
  const counted = isServedByFallback || own.length === 0 ? [usage] : own;
  const sum = (field: string) => counted.reduce((total, each) => total + tokenCount(each[field]), 0);
  const cachedInput = tokenCount(usage["cache_read_input_tokens"]);
  const written = tokenCount(usage["cache_creation_input_tokens"]);
  return {
    input: tokenCount(sum("input_tokens") + cachedInput + written),
    cachedInput,
    output: tokenCount(sum("output_tokens")),
  };
}

/**
 * The start of a block, without what it already holds, and the deltas that bring it: the SDK reads a text from deltas alone.
 * Gateways send null where the block's text or arguments are still to come.
 */
function startOf(event: JsonObject): JsonObject[] {
  const { input, ...block } = objectOf(event["content_block"]);
  const type = block["type"];
  if (type !== "text" && type !== "thinking") {
    return [{ ...event, content_block: isObject(input) ? { ...block, input } : block }];
  }
  const { signature, ...plain } = block;
  const deltas: JsonObject[] = [];
  if (textOf(block[type])) deltas.push({ type: `${type}_delta`, [type]: block[type] ?? "" });
  if (textOf(signature)) deltas.push({ type: "signature_delta", signature: signature ?? "" });
  const { index = 0 } = event;
  return [
    { ...event, content_block: { ...plain, [type]: "" } },
    ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
  ];
}

function deltaOf(value: Json | undefined): JsonObject {
  const delta = objectOf(value);
  const json = delta["partial_json"];
  if (delta["type"] !== "input_json_delta" || typeof json === "string") return delta;
  return { ...delta, partial_json: json === undefined || json === null ? "" : JSON.stringify(json) };
}
