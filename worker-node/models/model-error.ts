import { z } from "zod";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { namedCause } from "../outbound/named-cause.ts";
import { EventReader } from "./event-stream.ts";
import { parseJson } from "../engine/parse-json.ts";
import { mayRefuseToolChoice, mayRefuseTools, stepErrorOfProvider } from "./provider-error.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { ProviderError } from "./provider-error.ts";

/** An error that a provider reported inside the stream of an answer. */
export class ReportedError extends Error {
  readonly report: Json;

  constructor(report: Json) {
    super(`the provider reported an error inside its answer: ${JSON.stringify(report)}`);
    this.name = "ReportedError";
    this.report = report;
  }
}

/** The SDK's error for a response with an error status. One without a status: the provider cannot be reached. */
const ApiCallError = z.object({
  name: z.literal("AI_APICallError"),
  statusCode: z.number().min(300),
  responseHeaders: z.record(z.string(), z.string()).optional(),
  responseBody: z.string().optional(),
});

/** The error as the provider reported it; null: the provider reported none. */
function providerErrorOf(error: unknown): ProviderError | null {
  if (error instanceof ReportedError) return { status: undefined, headers: {}, body: error.report };
  const api = ApiCallError.safeParse(error);
  if (!api.success) return null;
  const { statusCode, responseHeaders = {}, responseBody = "" } = api.data;
  return { status: statusCode, headers: responseHeaders, body: bodyOf(responseBody) };
}

/** A body as JSON: as a whole, or the first event of a stream, which some servers send also under an error status. */
function bodyOf(text: string): Json {
  const whole = parseJson(text);
  if (whole !== undefined) return whole;
  const reader = new EventReader();
  const [first] = [...reader.push(text), ...reader.end()];
  return (first && parseJson(first.data)) ?? text;
}

/**
 * Turns the error of a model call into the error that the step throws: a TerminalError, or a RetryableError with the wait
 * that the provider asks for. When the call was aborted, it is the reason of `signal`.
 */
export function modelError(error: unknown, model: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof TerminalError || error instanceof RetryableError) return error;
  const provider = providerErrorOf(error);
  if (provider !== null) return stepErrorOfProvider(provider, model, error);
  const message = `${model}: the connection to the provider failed${namedCause(error)}`;
  return new RetryableError("model_unreachable", message, { cause: error });
}

/** Whether the same request without a forced tool choice may succeed. */
export function refusesToolChoice(error: unknown): boolean {
  return isRefusal(error, mayRefuseToolChoice);
}

/** Whether the same request without tools may succeed. */
export function refusesTools(error: unknown): boolean {
  return isRefusal(error, mayRefuseTools);
}

function isRefusal(error: unknown, may: (error: ProviderError) => boolean): boolean {
  if (!(error instanceof TerminalError) && !(error instanceof RetryableError)) return false;
  const provider = providerErrorOf(error.cause);
  return provider !== null && may(provider);
}

/** The SDK's error for a complete answer in text to a request that required a tool call. The step reads the text. */
export function isToolChoiceViolation(error: unknown): boolean {
  return error instanceof Error && error.name === "AI_ToolChoiceViolationError";
}
