import { isObject } from "../../../shared/contracts/json.ts";
import { listOf, objectOf, textOf, without } from "../json-fields.ts";
import { tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { noteCounts } from "../provider-report.ts";
import type { Tokens } from "../cost.ts";
import type { Format } from "../provider-report.ts";

/** `streamGenerateContent` of the Gemini API. */
export const googleFormat: Format = {
  read(event, name, report) {
    const { error } = event;
    if (isObject(error) || textOf(error) !== undefined || name === "error") {
      report.error ??= error ?? event;
      return [];
    }
    noteCounts(report, event["usageMetadata"], tokensOf);
    const blocked = textOf(objectOf(event["promptFeedback"])["blockReason"]);
    if (blocked !== undefined && !blocked.endsWith("_UNSPECIFIED")) report.withheld = true;
    const [candidate] = listOf(event["candidates"]);
    if (!isObject(candidate)) return [];
    const finish = candidate["finishReason"];
    if (typeof finish === "string") report.finish = finish;
    return [{ ...without(event, "usageMetadata"), candidates: [candidateOf(candidate)] }];
  },
};

/** Thoughts are counted apart from the answer, and what tools of the provider read apart from the prompt. */
function tokensOf(usage: JsonObject): Tokens {
  const sum = (...names: string[]) =>
    tokenCount(names.reduce((total, name) => total + tokenCount(usage[name]), 0));
  return {
    input: sum("promptTokenCount", "toolUsePromptTokenCount"),
    cachedInput: tokenCount(usage["cachedContentTokenCount"]),
    output: sum("candidatesTokenCount", "thoughtsTokenCount"),
  };
}

function candidateOf(candidate: JsonObject): JsonObject {
  const content = candidate["content"];
  if (!isObject(content)) return without(candidate, "content");
  return {
    ...candidate,
    content: { ...content, parts: listOf(content["parts"]).filter(isObject).map(partOf) },
  };
}

function partOf(part: JsonObject): JsonObject {
  const call = part["functionCall"];
  const hasOddArgs = isObject(call) && !isUsual(call["args"]);
  return hasOddArgs ? { ...part, functionCall: { ...call, args: {} } } : part;
}

function isUsual(args: Json | undefined): boolean {
  return args === undefined || isObject(args) || typeof args === "string";
}
