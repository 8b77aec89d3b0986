import { isObject } from "../../../shared/contracts/json.ts";
import { listOf, objectOf, textOf, without } from "../json-fields.ts";
import { tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { noteCounts } from "../provider-report.ts";
import type { Tokens } from "../cost.ts";
import type { Format, ProviderReport } from "../provider-report.ts";

/**
 * Chat Completions, as OpenAI and the many servers that follow it write them. One choice is read: no request asks for
 * more.
 */
export const openaiFormat: Format = {
  read(event, name, report) {
    const choice = objectOf(listOf(event["choices"])[0]);
    const error = errorIn(event, choice, name);
    if (error !== undefined) report.error ??= error;
    const usage = [event["usage"], objectOf(event["x_groq"])["usage"], choice["usage"]].find(isObject);
    noteCounts(report, usage, tokensOf);
    if (Object.keys(choice).length === 0) return [];
    const finish = choice["finish_reason"];
    // Some servers send an empty word with the events around the one that ends the answer.
    if (typeof finish === "string" && (finish !== "" || report.finish === undefined)) report.finish = finish;
    const read = {
      index: 0,
      delta: deltaOf(choice, report),
      finish_reason: typeof finish === "string" ? finish : null,
    };
    return [{ ...without(event, "error", "usage", "created"), choices: [read] }];
  },
};

/** The error in an event: beside its choices, in its choice, or as the whole event. An empty `error` is none. */
function errorIn(event: JsonObject, choice: JsonObject, name: string | undefined): Json | undefined {
  const inside = [event["error"], choice["error"]].find(isFilled);
  if (inside !== undefined) return inside;
  if (Object.keys(choice).length > 0) return undefined;
  const isWhole =
    name === "error" ||
    event["object"] === "error" ||
    event["type"] === "error" ||
    isFilled(event["detail"]) ||
    isFilled(event["errors"]) ||
    isFilled(objectOf(event["base_resp"])["status_code"]) ||
    (textOf(event["message"]) !== undefined && (isFilled(event["code"]) || isFilled(event["type"])));
  return isWhole ? event : undefined;
}

function isFilled(value: Json | undefined): boolean {
  if (value === undefined || value === null || value === "" || value === false || value === 0) return false;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

/**
 * `prompt_tokens` includes cached tokens, which servers count under three names. What the total has beyond prompt and
 * completion are thoughts, which xAI and the OpenAI form of Gemini leave out of `completion_tokens`.
 */
function tokensOf(usage: JsonObject): Tokens {
  const details = objectOf(usage["prompt_tokens_details"] ?? usage["input_tokens_details"]);
  const cached = details["cached_tokens"] ?? usage["prompt_cache_hit_tokens"] ?? usage["cached_tokens"];
  const input = tokenCount(usage["prompt_tokens"] ?? usage["input_tokens"]);
  const output = tokenCount(usage["completion_tokens"] ?? usage["output_tokens"]);
  const beyondInput = tokenCount(usage["total_tokens"]) - input;
  return { input, cachedInput: tokenCount(cached), output: Math.max(output, beyondInput) };
}

/** A server that does not stream sends a whole `message` in place of a `delta`. */
function deltaOf(choice: JsonObject, report: ProviderReport): JsonObject {
  const delta = objectOf(choice["delta"] ?? choice["message"]);
  noteOpaque(delta, report);
  if (textOf(delta["refusal"]) !== undefined) report.withheld = true;
  const items = itemsOf(delta["content"] ?? choice["text"]);
  noteItems(items, report);
  const texts = items.map((item) => textOf(item["text"])).filter((text) => text !== undefined);
  const calls = callsOf(delta);
  return {
    role: "assistant",
    ...(texts.length > 0 ? { content: texts.join("") } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

/** The content of a piece: a text, or a list of items. */
function itemsOf(content: Json | undefined): JsonObject[] {
  const text = textOf(content);
  return text === undefined ? listOf(content).filter(isObject) : [{ type: "text", text }];
}

/** Mistral writes thoughts as items of the content, and takes no other field for them. Then the whole list goes back. */
function noteItems(items: readonly JsonObject[], report: ProviderReport): void {
  for (const item of items) report.content = joined(report.content, item);
  if (items.some((item) => item["type"] !== "text") || report.opaque["content"] !== undefined)
    report.opaque["content"] = report.content;
}

/** `function_call` is the form from before `tool_calls`. */
function callsOf(delta: JsonObject): JsonObject[] {
  const calls = isObject(delta["tool_calls"]) ? [delta["tool_calls"]] : listOf(delta["tool_calls"]);
  const old = delta["function_call"];
  return [...calls, ...(isObject(old) ? [{ index: 0, function: old }] : [])].filter(isObject).map(callOf);
}

function callOf(call: JsonObject): JsonObject {
  const fn = isObject(call["function"]) ? call["function"] : call;
  const index = Number(call["index"] ?? Number.NaN);
  const name = textOf(fn["name"]);
  const id = typeof call["id"] === "number" ? String(call["id"]) : textOf(call["id"]);
  return {
    ...(Number.isInteger(index) ? { index } : {}),
    ...(id === undefined ? {} : { id }),
    type: "function",
    function: { ...(name === undefined ? {} : { name }), arguments: argumentsOf(fn["arguments"]) },
    ...(isObject(call["extra_content"]) ? { extra_content: call["extra_content"] } : {}),
  };
}

/** OpenAI writes arguments as JSON text; some servers write the value itself. */
function argumentsOf(value: Json | undefined): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** The fields in which servers send thoughts. A server expects them back in the field that it used. */
const OPAQUE_TEXTS = ["reasoning_content", "reasoning", "reasoning_text", "reasoning_opaque", "thinking"];
const OPAQUE_LISTS = ["reasoning_details", "thinking_blocks"];

function noteOpaque(delta: JsonObject, report: ProviderReport): void {
  for (const name of OPAQUE_TEXTS) {
    const piece = textOf(delta[name]);
    if (piece !== undefined) report.opaque[name] = (textOf(report.opaque[name]) ?? "") + piece;
  }
  for (const name of OPAQUE_LISTS) {
    for (const item of listOf(delta[name])) report.opaque[name] = joined(listOf(report.opaque[name]), item);
  }
}

/** Adds an item to a list, or to its last item when it is a piece of that one. */
function joined(list: readonly Json[], item: Json): Json[] {
  const last = list.at(-1);
  if (!isObject(item) || !isObject(last) || !isPieceOf(last, item)) return [...list, item];
  const merged = { ...last };
  for (const [name, value] of Object.entries(item)) {
    const before = merged[name];
    if (Array.isArray(before) && Array.isArray(value)) {
      merged[name] = value.reduce<Json[]>(joined, before);
    } else {
      const isText = ["text", "summary", "data", "thinking"].includes(name);
      merged[name] =
        isText && typeof before === "string" && typeof value === "string" ? before + value : value;
    }
  }
  return [...list.slice(0, -1), merged];
}

/** Pieces of one item carry its `index`, or follow each other: a signature ends an item. */
function isPieceOf(last: JsonObject, item: JsonObject): boolean {
  if (item["type"] !== last["type"]) return false;
  if (item["index"] !== undefined) return item["index"] === last["index"];
  return (item["type"] === "text" || item["type"] === "thinking") && textOf(last["signature"]) === undefined;
}
