import { isObject, listOf, objectOf, textOf, without } from "../json-fields.ts";
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
  const inside = [event["error"], choice["error"]].find(saysSomething);
  if (inside !== undefined) return inside;
  if (Object.keys(choice).length > 0) return undefined;
  const isWhole =
    name === "error" ||
    event["object"] === "error" ||
    event["type"] === "error" ||
    saysSomething(event["detail"]) ||
    saysSomething(event["errors"]) ||
    saysSomething(objectOf(event["base_resp"])["status_code"]) ||
    (textOf(event["message"]) !== undefined &&
      (saysSomething(event["code"]) || saysSomething(event["type"])));
  return isWhole ? event : undefined;
}

function saysSomething(value: Json | undefined): boolean {
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
  const text = delta["content"] ?? choice["text"];
  const calls = callsOf(delta);
  return {
    role: "assistant",
    ...(typeof text === "string" || Array.isArray(text) ? { content: text } : {}),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
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

/** What models think comes under several names. The server wants it back under the name that it used. */
const OPAQUE_TEXTS = ["reasoning_content", "reasoning"];
const OPAQUE_LISTS = ["reasoning_details"];

function noteOpaque(delta: JsonObject, report: ProviderReport): void {
  for (const name of OPAQUE_TEXTS) {
    const piece = textOf(delta[name]);
    if (piece !== undefined) report.opaque[name] = (textOf(report.opaque[name]) ?? "") + piece;
  }
  for (const name of OPAQUE_LISTS) {
    for (const item of listOf(delta[name])) report.opaque[name] = joined(listOf(report.opaque[name]), item);
  }
}

/** Pieces of one item carry its `index`: their texts are parts of one text. */
function joined(list: Json[], item: Json): Json[] {
  const last = list.at(-1);
  const isPiece =
    isObject(item) && isObject(last) && item["index"] !== undefined && item["index"] === last["index"];
  if (!isPiece || item["type"] !== last["type"]) return [...list, item];
  const merged = { ...last };
  for (const [name, value] of Object.entries(item)) {
    const before = merged[name];
    const isText = ["text", "summary", "data"].includes(name);
    merged[name] = isText && typeof before === "string" && typeof value === "string" ? before + value : value;
  }
  return [...list.slice(0, -1), merged];
}
