/** Hopeless for a step: trying again would fail again. Fails the run with `code`. */
export class TerminalError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = "TerminalError";
    this.code = code;
  }
}

/** May pass: the step is tried again as its retry policy says, not before `retryAfterMs` when the other side named a time. */
export class RetryableError extends Error {
  readonly code: string;
  readonly retryAfterMs: number | undefined;
  /** The other side said no, so nothing happened there: a retry is a new call, with a new effect key. */
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
 * A tool understood the call and refuses it (HTTP 4xx). An agent's model is told and may correct itself; where nobody
 * can correct the call, it is a TerminalError like others.
 */
export class ToolRejection extends TerminalError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super("tool_rejected", message, options);
    this.name = "ToolRejection";
  }
}
