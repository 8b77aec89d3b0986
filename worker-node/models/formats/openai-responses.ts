import { objectOf } from "../../../shared/contracts/json.ts";
import { textOf } from "../json-fields.ts";
import { noteCounts } from "../provider-report.ts";
import { errorOfEvent, isFilled } from "./event-error.ts";
import { finishOfResponse } from "./openai-shapes.ts";
import { tokensOf } from "./openai.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { Format, ProviderReport } from "../provider-report.ts";

/** Ids of OpenAI's responses: they become a part of a URL and of the journal. */
const RESPONSE_ID = /^[\w-]{1,200}$/;

/** The events after which nothing follows. */
const LAST = new Set([
  "response.completed",
  "response.incomplete",
  "response.failed",
  "response.cancelled",
  "error",
]);

/** OpenAI's Responses API (platform.openai.com/docs/api-reference/responses-streaming), whose events the SDK reads as they are. */
export const openaiResponsesFormat: Format = {
  read(event, name, report) {
    const type = textOf(event["type"]) ?? "";
    const response = objectOf(event["response"]);
    const { sequence_number: sequence } = event;
    if (typeof sequence === "number") report.sequence = sequence;
    const id = textOf(response["id"]) ?? "";
    if (report.responseId === undefined && RESPONSE_ID.test(id)) report.responseId = id;
    if (type === "response.refusal.delta") report.withheld = true;
    if (LAST.has(type)) noteEnd(event, response, name, report);
    return [event];
  },
};

function noteEnd(
  event: JsonObject,
  response: JsonObject,
  name: string | undefined,
  report: ProviderReport,
): void {
  report.done = true;
  noteCounts(report, response["usage"], tokensOf);
  const { error, status } = response;
  if (isFilled(error)) report.error ??= error;
  else if (event["type"] === "error") report.error ??= errorOfEvent(event, name, false);
  else if (status === "failed" || status === "cancelled") report.error ??= { code: "server_error" };
  else report.finish = finishOfResponse(response);
}
