import { isObject, listOf, objectOf } from "../../../shared/contracts/json.ts";
import { errorOfEvent, isFilled } from "./event-error.ts";
import { textOf } from "../json-fields.ts";
import { isCount, tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { finishOf } from "../finish-reason.ts";
import { noteCounts, promptAndAnswer } from "../provider-report.ts";
import { callsIn, isToolUse, openCallsAtEnd } from "./openai-calls.ts";
import { noteItems, noteOpaque } from "./openai-opaque.ts";
import { asChatEvent } from "./openai-shapes.ts";
import type { Format, ProviderReport, ReportedTokens } from "../provider-report.ts";

/** Chat Completions, as OpenAI and the many servers that follow it write them. */
export const openaiFormat: Format = {
  read(written, name, report, onText) {
    const event = asChatEvent(written, report);
    const choices = choicesOf(event, report);
    const hasChoice = choices.some((choice) => Object.keys(choice).length > 0);
    const groq = objectOf(event["x_groq"]);
    const [otherError] = [...choices.map(({ error }) => error), groq["error"]].filter(isFilled);
    const error = errorOfEvent(event, name, hasChoice) ?? otherError;
    if (error !== undefined) report.error ??= error;
    const usage = [event["usage"], groq["usage"], choices[0]?.["usage"]].find(isObject);
    noteCounts(report, usage, tokensOf);
    if (!hasChoice) return [];
    const { text, calls } = deltaOf(choices, report);
    for (const choice of choices) noteFinish(choice, report);
    if (text !== "" && report.error === undefined) onText(text);
    const isTextAlone = text !== "" && calls.length === 0 && report.finish === undefined;
    return isTextAlone ? [] : [asChunk(calls, report)];
  },
  end(report) {
    const calls = openCallsAtEnd(report);
    return calls.length === 0 ? [] : [asChunk(calls, report)];
  },
};

/** An event for the SDK, with nothing else: the SDK gives up on a field of another type, also on a field that it does not need. */
function asChunk(calls: JsonObject[], { finish }: ProviderReport): JsonObject {
  const delta = { role: "assistant", ...(calls.length > 0 ? { tool_calls: calls } : {}) };
  return { choices: [{ index: 0, delta, finish_reason: finish ?? null }] };
}

/** The choices of an event, in the order of their indices. */
function choicesOf(event: JsonObject, report: ProviderReport): JsonObject[] {
  const choices = isObject(event["choices"]) ? [event["choices"]] : listOf(event["choices"]).map(objectOf);
  report.hasSeveralChoices ||= choices.length > 1;
  return choices.toSorted((a, b) => tokenCount(a["index"]) - tokenCount(b["index"]));
}

/** The index of a choice. Some servers count events in the index of their only choice, so it is 0 until an event has several choices. */
function indexOf({ index }: JsonObject, report: ProviderReport): number {
  return report.hasSeveralChoices ? tokenCount(index) : 0;
}

/**
 * Notes the finish reason of a choice. Some servers send an empty reason with the events around the last one. When two choices
 * make one answer, the reason that is not complete counts.
 */
function noteFinish(choice: JsonObject, report: ProviderReport): void {
  const finish = choice["finish_reason"];
  const chosen = [...report.chosen.values()];
  if (typeof finish !== "string" || (chosen.length > 0 && !chosen.includes(indexOf(choice, report)))) return;
  const before = finishOf(report.finish ?? "");
  if (before === "limit" || before === "withheld") return;
  if (finish !== "" || report.finish === undefined) report.finish = finish;
}

/**
 * `prompt_tokens` includes cached tokens, which servers count under three names. What the total has beyond prompt and
 * completion are thoughts, which xAI and the OpenAI form of Gemini leave out of `completion_tokens`.
 */
export function tokensOf(usage: JsonObject): ReportedTokens {
  const details = objectOf(usage["prompt_tokens_details"] ?? usage["input_tokens_details"]);
  const cached = details["cached_tokens"] ?? usage["prompt_cache_hit_tokens"] ?? usage["cached_tokens"];
  const count = (...names: string[]) => {
    const counts = names.map((name) => usage[name]).filter(isCount);
    return counts.length === 0 ? undefined : tokenCount(counts[0]);
  };
  const input = count("prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "prompt_eval_count");
  const output = count(
    "completion_tokens",
    "output_tokens",
    "completionTokens",
    "outputTokens",
    "eval_count",
  );
  const total = count("total_tokens", "totalTokens");
  return { ...promptAndAnswer(input, output, total), cachedInput: tokenCount(cached) };
}

/**
 * What the choices of an event add to the answer. No request asks for more than one choice, but some servers put the text and the calls
 * of one answer into two. So the text is taken from the first choice with a text, and the calls from the first choice with a call.
 * A server that does not stream sends a whole `message` in place of a `delta`; after deltas it is what these have brought already.
 */
function deltaOf(
  choices: readonly JsonObject[],
  report: ProviderReport,
): { text: string; calls: JsonObject[] } {
  const texts: string[] = [];
  const calls: JsonObject[] = [];
  for (const choice of choices) {
    const pieces = choice["delta"] ?? null;
    const message = pieces ?? unread(choice["message"], report);
    const delta = typeof message === "string" ? { content: message } : objectOf(message);
    const written = itemsOf(delta["content"]).filter((item) => !isToolUse(item));
    const items = written.length > 0 ? written : itemsOf(choice["text"]);
    if (takes("text", items.length > 0, choice, report)) {
      noteItems(items, report);
      texts.push(...items.filter(isText).map(({ text }) => textOf(text) ?? ""));
    }
    const hasCalls =
      isFilled(delta["tool_calls"]) ||
      isFilled(delta["function_call"]) ||
      listOf(delta["content"]).some(isToolUse);
    if (pieces !== null && items.length > 0) report.inDeltas.add("text");
    if (pieces !== null && hasCalls) report.inDeltas.add("call");
    if (takes("call", hasCalls, choice, report)) calls.push(...callsIn(delta, report));
    noteOpaque(delta, report);
    for (const kind of mediaIn(delta, items)) report.media.add(kind);
    if (textOf(delta["refusal"]) !== undefined) report.withheld = true;
  }
  return { text: texts.join(""), calls };
}

/** The kinds of what is no text, and no thought, in a piece: OpenRouter's `images`, `audio`, and items of the content. */
function mediaIn(delta: JsonObject, items: readonly JsonObject[]): string[] {
  const fields = ["images", "audio"].filter((name) => isFilled(delta[name]));
  const types = items.map(({ type }) => textOf(type) ?? "");
  return [...fields, ...types].flatMap((type) => /image|audio|video|file/.exec(type)?.[0] ?? []);
}

/** What a message holds that no delta has brought: MiniMax ends a stream with the whole of it. */
function unread(message: Json | undefined, report: ProviderReport): Json {
  if (report.inDeltas.size === 0 || !isObject(message)) return message ?? null;
  const { refusal = null, content = null, tool_calls = null, function_call = null } = message;
  return {
    refusal,
    ...(report.inDeltas.has("text") ? {} : { content }),
    ...(report.inDeltas.has("call") ? {} : { tool_calls, function_call }),
  };
}

/** Whether the answer takes its text, or its calls, from this choice: the first choice that has any decides. */
function takes(kind: "text" | "call", isThere: boolean, choice: JsonObject, report: ProviderReport): boolean {
  const index = indexOf(choice, report);
  if (isThere && !report.chosen.has(kind)) report.chosen.set(kind, index);
  return report.chosen.get(kind) === index;
}

/** The content of a piece: a text, an item, or a list of both. */
function itemsOf(content: Json | undefined): JsonObject[] {
  const list = Array.isArray(content) ? content : [content ?? null];
  return list.flatMap((item): JsonObject[] => {
    // A model that is asked for JSON answers with it, and some gateways then write the value itself.
    const isBare = typeof item === "number" || typeof item === "boolean";
    const text = isBare ? String(item) : textOf(item);
    if (text !== undefined) return [{ type: "text", text }];
    if (!isObject(item)) return [];
    const written = [item["text"], objectOf(item["text"])["value"], item["content"]].map(textOf);
    const own = written.find((each) => each !== undefined);
    if (own === undefined) return isText(item) ? [] : [item];
    return isText(item) ? [{ type: "text", text: own }] : [item];
  });
}

/** Whether an item of the content is a part of the answer. Servers name its type in several ways; thoughts have types of their own. */
function isText({ type }: JsonObject): boolean {
  return type === undefined || type === null || type === "text" || type === "output_text";
}
