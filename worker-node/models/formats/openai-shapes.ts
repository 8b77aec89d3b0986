import { isObject, listOf, objectOf } from "../../../shared/contracts/json.ts";
import { isFilled } from "./event-error.ts";
import { textOf } from "../json-fields.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { ProviderReport } from "../provider-report.ts";

/**
 * An event of Chat Completions for one of another API that servers answer with at the same URL: Ollama's own (`message` or
 * `response`, and `done`) and OpenAI's Responses. Any other event is returned as it is.
 */
export function asChatEvent(event: JsonObject, report: ProviderReport): JsonObject {
  if (typeof event["done"] === "boolean") return ofOllama(event);
  const type = textOf(event["type"]) ?? "";
  if (event["object"] === "response") return ofResponse(event, report);
  return type.startsWith("response.") ? ofResponsesEvent(type, event, report) : event;
}

function ofOllama(event: JsonObject): JsonObject {
  const delta = isObject(event["message"]) ? event["message"] : { content: event["response"] ?? null };
  const finish_reason = event["done"] === true ? (textOf(event["done_reason"]) ?? "stop") : null;
  const { prompt_eval_count = null, eval_count = null, error = null } = event;
  return { error, choices: [{ delta, finish_reason }], usage: { prompt_eval_count, eval_count } };
}

function ofResponsesEvent(type: string, event: JsonObject, report: ProviderReport): JsonObject {
  switch (type) {
    case "response.output_text.delta":
      return chat({ content: event["delta"] ?? null });
    case "response.refusal.delta":
      return chat({ refusal: event["delta"] ?? null });
    case "response.output_item.done": {
      const item = objectOf(event["item"]);
      if (!isCall(item)) return {};
      report.responseCalls.add(keyOf(item));
      return chat(deltaOf([item]));
    }
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
    case "response.done":
      return ofResponse(objectOf(event["response"]), report);
    default:
      return {};
  }
}

/** The event for a whole response. After other events it has only the text, or the calls, that these did not have. */
function ofResponse(response: JsonObject, report: ProviderReport): JsonObject {
  const { error, usage = null } = response;
  const status = textOf(response["status"]) ?? "";
  if (isFilled(error)) return { error: error ?? null, usage };
  if (status === "failed" || status === "cancelled") return { error: { code: "server_error" }, usage };
  const output = listOf(response["output"]).map(objectOf);
  const left = output.filter((item) =>
    isCall(item) ? !report.responseCalls.has(keyOf(item)) : !report.chosen.has("text"),
  );
  return { ...chat(deltaOf(left), finishOfResponse(response)), usage };
}

function isCall({ type }: JsonObject): boolean {
  return type === "function_call";
}

/** What tells one call of a response from the others. */
function keyOf({ call_id, ...call }: JsonObject): string {
  return textOf(call_id) ?? JSON.stringify([call["name"], call["arguments"]]);
}

/** Why a whole response ended, in the words of Chat Completions. */
export function finishOfResponse(response: JsonObject): string {
  const hasCall = listOf(response["output"]).some((item) => objectOf(item)["type"] === "function_call");
  if (response["status"] === "completed") return hasCall ? "tool_calls" : "stop";
  return textOf(objectOf(response["incomplete_details"])["reason"]) ?? "incomplete";
}

function deltaOf(output: readonly JsonObject[]): JsonObject {
  const calls = output.filter((item) => item["type"] === "function_call");
  const items = output.flatMap((item) => (item["type"] === "message" ? listOf(item["content"]) : []));
  const refusal = items.map((item) => objectOf(item)["refusal"]).find((text) => text !== undefined);
  return {
    content: items,
    ...(refusal === undefined ? {} : { refusal }),
    tool_calls: calls.map(({ call_id = null, name = null, arguments: args = null }) => ({
      id: call_id,
      function: { name, arguments: args },
    })),
  };
}

function chat(delta: JsonObject, finish_reason: string | null = null): JsonObject {
  return { choices: [{ delta, finish_reason }] };
}
