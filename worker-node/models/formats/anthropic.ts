import { isObject, listOf, objectOf, textOf } from "../json-fields.ts";
import { tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { Tokens } from "../cost.ts";
import type { Format, ProviderReport } from "../provider-report.ts";

/** The events of the Messages API that hold an answer. Others, such as `ping` and ones that are not known yet, hold none. */
const ANSWER_EVENTS = new Set([
  "message_start",
  "content_block_start",
  "content_block_delta",
  "content_block_stop",
  "message_delta",
  "message_stop",
]);

export function anthropicFormat(): Format {
  // `message_start` and `message_delta` both tell counts; those of the delta are sums for the whole message.
  let usage: JsonObject = {};
  const note = (more: Json | undefined, report: ProviderReport): void => {
    if (!isObject(more)) return;
    usage = { ...usage, ...Object.fromEntries(Object.entries(more).filter(([, count]) => count !== null)) };
    report.tokens = tokensOf(usage);
  };
  return {
    read(event, name, report) {
      const type = textOf(event["type"]);
      if (isObject(event["error"]) || textOf(event["error"]) || type === "error" || name === "error") {
        report.error ??= event["error"] ?? event;
        return null;
      }
      if (type === undefined || !ANSWER_EVENTS.has(type)) return null;
      if (type === "message_start") {
        const message = objectOf(event["message"]);
        note(message["usage"], report);
        return { ...event, message: { ...message, usage: { input_tokens: 0 } } };
      }
      if (type === "message_delta") {
        note(event["usage"], report);
        const delta = objectOf(event["delta"]);
        if (typeof delta["stop_reason"] === "string") report.finish = delta["stop_reason"];
        return { ...event, delta, usage: { output_tokens: 0 } };
      }
      if (type === "message_stop") report.done = true;
      if (type === "content_block_start") return { ...event, content_block: blockOf(event["content_block"]) };
      if (type === "content_block_delta") return { ...event, delta: deltaOf(event["delta"]) };
      return event;
    },
  };
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

/** Gateways send null where the block's text or arguments are still to come. */
function blockOf(block: Json | undefined): JsonObject {
  const { input, ...rest } = objectOf(block);
  if (rest["type"] === "text" || rest["type"] === "thinking") {
    return { ...rest, [rest["type"]]: textOf(rest[rest["type"]]) ?? "" };
  }
  return isObject(input) ? { ...rest, input } : rest;
}

function deltaOf(value: Json | undefined): JsonObject {
  const delta = objectOf(value);
  const json = delta["partial_json"];
  if (delta["type"] !== "input_json_delta" || typeof json === "string") return delta;
  return { ...delta, partial_json: json === undefined || json === null ? "" : JSON.stringify(json) };
}
