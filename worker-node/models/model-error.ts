import { z } from "zod";
import { RetryableError, TerminalError } from "../engine/errors.ts";

/** What the SDK throws when a provider answers with a status, or cannot be reached. */
const ApiCallError = z.object({
  name: z.literal("AI_APICallError"),
  statusCode: z.number().optional(),
  responseHeaders: z.record(z.string(), z.string()).optional(),
});

const HOPELESS: { [status: number]: { code: string; message: string } } = {
  400: { code: "model_bad_request", message: "the model's provider refuses the request" },
  401: { code: "model_unauthorized", message: "the model's provider does not accept the API key" },
  402: { code: "model_unauthorized", message: "the account at the model's provider has no credit" },
  403: { code: "model_unauthorized", message: "the API key may not use this model" },
  404: { code: "unknown_model", message: "the provider has no such model" },
  413: { code: "model_bad_request", message: "the prompt is too large for the model's provider" },
  422: { code: "model_bad_request", message: "the model's provider refuses the request" },
};

/**
 * What becomes of a failed model call. Provider texts are not passed on: they may quote a key or a prompt.
 * An abort of our own is thrown as it is.
 */
export function modelError(error: unknown, model: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (error instanceof TerminalError || error instanceof RetryableError) return error;
  const api = ApiCallError.safeParse(error);
  if (!api.success || api.data.statusCode === undefined) {
    const message = `${model}: the connection to the provider failed or was cut`;
    return new RetryableError("model_unreachable", message, { cause: error });
  }
  const status = api.data.statusCode;
  const hopeless = HOPELESS[status];
  if (hopeless !== undefined) {
    return new TerminalError(hopeless.code, `${model}: ${hopeless.message} (HTTP ${status})`, {
      cause: error,
    });
  }
  const retryAfterMs = retryAfterOf(api.data.responseHeaders ?? {}, Date.now());
  // 2xx is an answer that could not be read: it may have been billed, so its outcome is not known.
  const answered = status >= 300;
  const code = status === 429 ? "model_rate_limited" : "model_unavailable";
  const message = `${model}: the provider answered HTTP ${status}`;
  return new RetryableError(code, message, { cause: error, retryAfterMs, answered });
}

/** The time that a `Retry-After` (seconds or a date, RFC 9110) or `retry-after-ms` header asks for. */
export function retryAfterOf(headers: Readonly<Record<string, string>>, nowMs: number): number | undefined {
  const milliseconds = Number(headers["retry-after-ms"] ?? Number.NaN);
  if (milliseconds >= 0) return milliseconds;
  const header = headers["retry-after"];
  if (header === undefined) return undefined;
  const seconds = Number(header);
  if (seconds >= 0) return seconds * 1_000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}
