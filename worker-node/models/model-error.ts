import { z } from "zod";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { parseRetryAfterMs } from "../outbound/retry-after.ts";

/** The SDK's error for a response with an error status, and for a provider that cannot be reached. */
const ApiCallError = z.object({
  name: z.literal("AI_APICallError"),
  statusCode: z.number().optional(),
  responseHeaders: z.record(z.string(), z.string()).optional(),
});

const TERMINAL_STATUSES: { [status: number]: { code: string; message: string } } = {
  400: { code: "model_bad_request", message: "the model's provider refuses the request" },
  401: { code: "model_unauthorized", message: "the model's provider does not accept the API key" },
  402: { code: "model_unauthorized", message: "the account at the model's provider has no credit" },
  403: { code: "model_unauthorized", message: "the API key may not use this model" },
  404: { code: "unknown_model", message: "the provider has no such model" },
  413: { code: "model_bad_request", message: "the prompt is too large for the model's provider" },
  422: { code: "model_bad_request", message: "the model's provider refuses the request" },
};

/**
 * Turns the error of a model call into the error that the step throws: a TerminalError, a RetryableError with the
 * provider's `Retry-After`, or the reason of `signal` when the call was aborted. The provider's own text is left out,
 * because it may quote an API key or a prompt; the original error is the `cause`.
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
  const terminal = TERMINAL_STATUSES[status];
  if (terminal !== undefined) {
    return new TerminalError(terminal.code, `${model}: ${terminal.message} (HTTP ${status})`, {
      cause: error,
    });
  }
  const retryAfterMs = parseRetryAfterMs(api.data.responseHeaders ?? {}, Date.now());
  // A 2xx whose body cannot be read may have been billed, so the outcome of the call is unknown.
  const answered = status >= 300;
  const code = status === 429 ? "model_rate_limited" : "model_unavailable";
  const message = `${model}: the provider answered HTTP ${status}`;
  return new RetryableError(code, message, { cause: error, retryAfterMs, answered });
}
