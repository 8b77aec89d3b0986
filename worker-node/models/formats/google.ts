import { isObject, listOf, objectOf } from "../../../shared/contracts/json.ts";
import { errorOfEvent } from "./event-error.ts";
import { textOf, without } from "../json-fields.ts";
import { isCount, tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { noteCounts, promptAndAnswer } from "../provider-report.ts";
import type { Format, ProviderReport, ReportedTokens } from "../provider-report.ts";

/** `streamGenerateContent` of the Gemini API. */
export const googleFormat: Format = {
  read(written, name, report) {
    // Proxies in front of Google's Code Assist pass its envelope on.
    const event = inCamelCase(isObject(written["response"]) ? written["response"] : written);
    const holdsAnswer = ["candidates", "usageMetadata", "promptFeedback"].some((field) =>
      Object.hasOwn(event, field),
    );
    const error = errorOfEvent(event, name, holdsAnswer);
    if (error !== undefined) {
      report.error ??= error;
      return [];
    }
    const usage = event["usageMetadata"];
    noteCounts(report, isObject(usage) ? inCamelCase(usage) : usage, tokensOf);
    const blocked = textOf(objectOf(event["promptFeedback"])["blockReason"]);
    if (blocked !== undefined && !blocked.endsWith("_UNSPECIFIED")) report.withheld = true;
    const [first] = listOf(event["candidates"]);
    if (!isObject(first)) return [];
    const candidate = inCamelCase(first);
    const finish = candidate["finishReason"];
    if (typeof finish === "string") report.finish = finish;
    // Nothing else: the SDK gives up on a field of another type, also on one that it does not need.
    const finishReason = typeof finish === "string" ? finish : null;
    return [{ candidates: [{ ...contentOf(candidate["content"], report), finishReason }] }];
  },
};

/**
 * Thoughts are counted apart from the answer, and what tools of the provider read apart from the prompt. Proxies leave some
 * counts out: what the total has beyond the prompt is output.
 */
function tokensOf(usage: JsonObject): ReportedTokens {
  const sum = (...names: string[]) => {
    const counts = names.map((name) => usage[name]).filter(isCount);
    const total = counts.reduce<number>((before, count) => before + tokenCount(count), 0);
    return counts.length === 0 ? undefined : tokenCount(total);
  };
  const prompt = sum("promptTokenCount", "toolUsePromptTokenCount");
  const answer = sum("candidatesTokenCount", "thoughtsTokenCount");
  return {
    ...promptAndAnswer(prompt, answer, sum("totalTokenCount")),
    cachedInput: tokenCount(usage["cachedContentTokenCount"]),
  };
}

function contentOf(content: Json | undefined, report: ProviderReport): JsonObject {
  if (!isObject(content)) return {};
  const parts = listOf(content["parts"]).filter(isObject).map(inCamelCase);
  for (const part of parts) {
    const type = textOf(inCamelCase(objectOf(part["inlineData"] ?? part["fileData"]))["mimeType"]);
    if (type !== undefined && part["thought"] !== true) report.media.add(type.split("/")[0] ?? type);
  }
  return { content: { parts: parts.map(partOf) } };
}

/** Proxies in Python write the names of protobuf's fields: `finish_reason`, `function_call`. */
function inCamelCase(object: JsonObject): JsonObject {
  const named = Object.entries(object).map(([name, value]): [string, Json] => [
    name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return Object.fromEntries(named);
}

function partOf(part: JsonObject): JsonObject {
  const call = part["functionCall"];
  const hasOddArgs = isObject(call) && !isUsual(call["args"]);
  const read = hasOddArgs ? { ...part, functionCall: { ...call, args: {} } } : part;
  return typeof part["thoughtSignature"] === "string" ? read : without(read, "thoughtSignature");
}

function isUsual(args: Json | undefined): boolean {
  return args === undefined || isObject(args) || typeof args === "string";
}
