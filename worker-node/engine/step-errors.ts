/** Another try of the step would fail too. Fails the run with `code`. */
export class TerminalError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "TerminalError";
    this.code = code;
  }
}

/** The model's provider says that the request is too long. A shorter conversation may be taken. */
export class RequestTooLong extends TerminalError {}

/**
 * No failure: a call has to wait, for a run that it has started, a person's answer, or a task of an MCP server. The step
 * parks, and the call goes on after the wait.
 */
export class CallIsOpen extends Error {}

/** Another try may succeed. The step's retry policy decides; the wait is at least `retryAfterMs` if the other side named it. */
export class RetryableError extends Error {
  readonly code: string;
  readonly retryAfterMs: number | undefined;
  /**
   * True: the other side refused or got nothing, so nothing happened there, and a retry is a new call with a new effect key. False: the
   * call may have happened, and a retry has the same key.
   */
  readonly answered: boolean;

  constructor(
    code: string,
    message: string,
    options: { cause?: unknown; retryAfterMs?: number | undefined; answered?: boolean } = {},
  ) {
    super(message, { cause: options.cause });
    this.name = "RetryableError";
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
    this.answered = options.answered ?? false;
  }
}

/**
 * The error of a refused request about a call, such as a poll of its task. The call itself was not refused, so it keeps its effect key:
 * `answered` is false.
 */
export function keepingKey(error: RetryableError): RetryableError {
  const { code, message, retryAfterMs } = error;
  return new RetryableError(code, message, { cause: error, retryAfterMs });
}

/** The error of a call that the other side did not get: a retry is a new call with a new effect key. */
export function withNewKey(error: RetryableError): RetryableError {
  const { code, message, retryAfterMs } = error;
  return new RetryableError(code, message, { cause: error, retryAfterMs, answered: true });
}

/**
 * A tool call has no result, and another call may have one: the tool refused it (HTTP 4xx, `tool_rejected`), or its answer
 * cannot be used. The model that made the call gets the reason and may correct itself. A call that no model made fails the
 * step, like any TerminalError.
 */
export class ToolRejection extends TerminalError {
  /** The HTTP status of the refusal; undefined: it was none by HTTP. */
  readonly status: number | undefined;
  /** The message with all that the tool said, for the model: the message quotes only the beginning. */
  readonly whole: string;

  constructor(
    message: string,
    options: { cause?: unknown; code?: string; status?: number; whole?: string } = {},
  ) {
    super(options.code ?? "tool_rejected", message, options);
    this.name = "ToolRejection";
    this.status = options.status;
    this.whole = options.whole || message;
  }
}
