import { isObject, listOf, objectOf, textOf, without } from "../json-fields.ts";
import { tokenCount } from "../token-count.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { Format } from "../provider-report.ts";

/** `streamGenerateContent` of the Gemini API. */
export const googleFormat: Format = {
  read(event, name, report) {
    const { error } = event;
    if (isObject(error) || textOf(error) !== undefined || name === "error") {
      report.error ??= error ?? event;
      return null;
    }
    const usage = event["usageMetadata"];
    if (isObject(usage)) {
      report.tokens = {
        input: tokenCount(
          tokenCount(usage["promptTokenCount"]) + tokenCount(usage["toolUsePromptTokenCount"]),
        ),
        cachedInput: tokenCount(usage["cachedContentTokenCount"]),
        output: tokenCount(
          tokenCount(usage["candidatesTokenCount"]) + tokenCount(usage["thoughtsTokenCount"]),
        ),
      };
    }
    const blocked = textOf(objectOf(event["promptFeedback"])["blockReason"]);
    if (blocked !== undefined && !blocked.endsWith("_UNSPECIFIED")) report.withheld = true;
    const [candidate] = listOf(event["candidates"]);
    if (!isObject(candidate)) return null;
    const finish = candidate["finishReason"];
    if (typeof finish === "string") report.finish = finish;
    return { ...without(event, "usageMetadata"), candidates: [candidateOf(candidate)] };
  },
};

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
