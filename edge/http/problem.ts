import { HTTPException } from "hono/http-exception";
import { z } from "zod";
import { AppError, errors, fieldErrorsOf } from "../../shared/errors.ts";
import type { ErrorCode, FieldError } from "../../shared/errors.ts";
import type { Refusal } from "../../shared/contracts/run.ts";
import { useSentences } from "../../shared/contracts/schema-messages.ts";
import { log } from "../../shared/log.ts";
import { firstChars } from "../../shared/text/first-chars.ts";
import { setRateLimit } from "./rate-limit-headers.ts";
import { isDataError, isDatabaseBusy, isDatabaseUnreachable } from "../../shared/store/unreachable.ts";

useSentences();

/** An error as clients get it: a problem of RFC 9457, with a stable `code`. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    code: z.enum(Object.keys(errors)),
    request_id: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: "Problem" });

/** The response for anything thrown. An error that has no code for clients is logged, and the client gets `internal`. */
export function problemResponse(thrown: unknown, requestId: string): Response {
  const error = toAppError(thrown);
  if (error.code === "internal") log.error("request.failed", { request: requestId, error: describe(thrown) });
  // A schema should have named the field: the log line helps to add the missing rule.
  if (isDataError(thrown)) log.warn("request.not_storable", { request: requestId, error: describe(thrown) });
  const body: z.infer<typeof Problem> = {
    type: `urn:synapse:problem:${error.code}`,
    title: errors[error.code].title,
    status: error.status,
    detail: beginningOf(error.message),
    code: error.code,
    request_id: requestId,
    ...(error.fields && { errors: error.fields.map(shortField) }),
  };
  const headers = new Headers({ "content-type": "application/problem+json" });
  // What the client still sends would be read as its next request.
  if (error.status === 408) headers.set("connection", "close");
  if (error.status === 401) headers.set("www-authenticate", "Bearer");
  if (error.status === 429 || error.status === 503) setLimits(headers, error);
  return new Response(JSON.stringify(body), { status: error.status, headers });
}

/** The most characters of a text in a problem. Texts quote names of the request, which may have a megabyte. */
const MAX_TEXT = 2_000;

function beginningOf(text: string): string {
  return text.length <= MAX_TEXT ? text : `${firstChars(text, MAX_TEXT)}…`;
}

function shortField({ path, message }: FieldError): FieldError {
  return { path: beginningOf(path), message: beginningOf(message) };
}

/** The wait that the response asks for when the error names none. */
const RETRY_AFTER_SECONDS = 2;

/**
 * Adds to a 429 or 503 the seconds after which a retry may succeed, and the limit that has nothing left. When that is no limit of the
 * tenant, the fields name the limit `service`.
 */
function setLimits(headers: Headers, { retryAfterSeconds = RETRY_AFTER_SECONDS, quota }: AppError): void {
  headers.set("retry-after", String(retryAfterSeconds));
  const times = { windowSeconds: retryAfterSeconds, resetSeconds: retryAfterSeconds };
  setRateLimit(headers, quota.length > 0 ? quota : [{ name: "service", limit: 0, left: 0, ...times }]);
}

/** The error that the client gets for anything thrown. It quotes no text of a driver, which may hold values. */
export function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown;
  if (thrown instanceof HTTPException) return new AppError(codeOf(thrown.status), sentenceOf(thrown.status));
  if (isDatabaseUnreachable(thrown)) {
    return new AppError("database_away", "The database cannot be reached; try again in a moment.", {
      cause: thrown,
      retryAfterSeconds: 2,
    });
  }
  if (isDatabaseBusy(thrown)) {
    return new AppError("capacity", "The database is busy; try again in a moment.", {
      cause: thrown,
      retryAfterSeconds: 1,
    });
  }
  if (isDataError(thrown)) {
    return new AppError("invalid", "The request holds a value that cannot be stored.", { cause: thrown });
  }
  return new AppError("internal", "An internal error occurred. Its log line has the id of this request.", {
    cause: thrown,
  });
}

/** The code for an error that Hono itself throws: a body that is not JSON, or a body that is too large. */
function codeOf(status: number): ErrorCode {
  if (status === 400) return "malformed_json";
  if (status === 413) return "too_large";
  return status === 404 ? "not_found" : "internal";
}

function sentenceOf(status: number): string {
  if (status === 400) return "The body could not be read as JSON.";
  return status === 413 ? "A body may have at most 1 MiB." : "An internal error occurred.";
}

/** The error for a refused run. */
export function refusedError({ code, detail, retryAfterSeconds, quota }: Refusal): AppError {
  return new AppError(code, detail, {
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    ...(quota && { quota }),
  });
}

/** The error for fields of a request that are wrong. Its detail names at most five; each message says what would be right. */
export function invalidFields(fields: FieldError[]): AppError {
  const named = fields.map(({ path }) => path || "the body").slice(0, 5);
  return new AppError("invalid", `Not valid: ${named.join(", ")}.`, { fields });
}

/** The error for a value that a schema refused. A `path` has the form `steps[2].id`. */
export function schemaError(error: z.core.$ZodError): AppError {
  return invalidFields(fieldErrorsOf(error));
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}
