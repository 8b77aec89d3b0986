import { isObject, listOf, objectOf } from "../../../shared/contracts/json.ts";
import { errorOfEvent } from "./event-error.ts";
import { textOf, without } from "../json-fields.ts";
import { tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { noteCounts } from "../provider-report.ts";
import type { Tokens } from "../cost.ts";
import type { Format } from "../provider-report.ts";

/** `streamGenerateContent` of the Gemini API. */
export const googleFormat: Format = {
  read(event, name, report) {
    const holdsAnswer = ["candidates", "usageMetadata", "promptFeedback"].some((field) =>
      Object.hasOwn(event, field),
    );
    const error = errorOfEvent(event, name, holdsAnswer);
    if (error !== undefined) {
      report.error ??= error;
      return [];
    }
    noteCounts(report, event["usageMetadata"], tokensOf);
    const blocked = textOf(objectOf(event["promptFeedback"])["blockReason"]);
    if (blocked !== undefined && !blocked.endsWith("_UNSPECIFIED")) report.withheld = true;
    const [candidate] = listOf(event["candidates"]);
    if (!isObject(candidate)) return [];
    const finish = candidate["finishReason"];
    if (typeof finish === "string") report.finish = finish;
    // Nothing else: the SDK gives up on a field of another type, also on one that it does not need.
    const finishReason = typeof finish === "string" ? finish : null;
    return [{ candidates: [{ ...contentOf(candidate["content"]), finishReason }] }];
  },
};

/**
 * Thoughts are counted apart from the answer, and what tools of the provider read apart from the prompt. Proxies leave some
 * counts out: what the total has beyond the prompt is output.
 */
function tokensOf(usage: JsonObject): Tokens {
  const sum = (...names: string[]) =>
    tokenCount(names.reduce((total, name) => total + tokenCount(usage[name]), 0));
  return {
    input: sum("promptTokenCount", "toolUsePromptTokenCount"),
    cachedInput: tokenCount(usage["cachedContentTokenCount"]),
    output: Math.max(
      sum("candidatesTokenCount", "thoughtsTokenCount"),
      tokenCount(usage["totalTokenCount"]) - sum("promptTokenCount", "toolUsePromptTokenCount"),
    ),
  };
}

function contentOf(content: Json | undefined): JsonObject {
  return isObject(content)
    ? { content: { parts: listOf(content["parts"]).filter(isObject).map(partOf) } }
    : {};
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
