import type { QuotaState } from "./contracts/quota.ts";

/** The code of every error that a client can get, with its HTTP status and the title of its problem response. */
export const errors = {
  malformed_json: { status: 400, title: "The body is not JSON" },
  bad_request: { status: 400, title: "The request is malformed" },
  bad_event_id: { status: 400, title: "The event id is malformed" },
  bad_cursor: { status: 400, title: "The cursor is malformed" },
  unauthorized: { status: 401, title: "Valid credentials are required" },
  forbidden: { status: 403, title: "This key is not allowed to do that" },
  not_found: { status: 404, title: "The resource does not exist" },
  method_not_allowed: { status: 405, title: "The path does not support this method" },
  request_timeout: { status: 408, title: "The body did not come in time" },
  idempotency_conflict: { status: 409, title: "The key or id of this request was used with another request" },
  run_not_finished: { status: 409, title: "The run has not finished yet" },
  run_finished: { status: 409, title: "The run has already finished" },
  conflict: { status: 409, title: "The present state of the resource does not allow this" },
  tenant_deleted: { status: 409, title: "The tenant was deleted" },
  several_questions: { status: 409, title: "The run waits for several answers" },
  session_busy: { status: 409, title: "A turn of this session has not ended" },
  not_waiting: { status: 409, title: "The run is not waiting for an answer" },
  upload_in_use: { status: 409, title: "A run uses this upload" },
  artifacts_full: { status: 409, title: "This tenant's files have all the bytes that it may store" },
  uploads_full: { status: 409, title: "This tenant has too many unused uploads" },
  precondition_failed: { status: 412, title: "The file is another one than the condition names" },
  length_required: { status: 411, title: "The request needs a Content-Length" },
  too_large: { status: 413, title: "The body is too large" },
  unsupported_media_type: { status: 415, title: "The body has a type that this path does not take" },
  range_not_satisfiable: { status: 416, title: "The file has no such range" },
  invalid: { status: 422, title: "Some fields are not valid" },
  not_yet: { status: 422, title: "This feature is not available yet" },
  rate_limited: { status: 429, title: "This tenant sends too many requests" },
  queue_full: { status: 429, title: "This tenant's queue is full" },
  too_many_streams: { status: 429, title: "This tenant has too many open streams" },
  tenant_disabled: { status: 429, title: "This tenant may not start runs" },
  internal: { status: 500, title: "An internal error occurred" },
  capacity: { status: 503, title: "The system is at capacity" },
  redis_away: { status: 503, title: "The queue cannot be reached" },
  rebuilding: { status: 503, title: "The queue is being rebuilt" },
  artifacts_away: { status: 503, title: "The object store cannot be reached" },
  database_away: { status: 503, title: "The database cannot be reached" },
  worker_silent: { status: 504, title: "The worker did not answer" },
  no_worker: { status: 503, title: "No worker is available" },
} as const satisfies Record<string, { status: number; title: string }>;

/** A code of the table above. */
export type ErrorCode = keyof typeof errors;

/** A wrong field of a request: its path, as `pathText` writes it, and a message that continues a sentence with the path as subject. */
export type FieldError = { path: string; message: string };

/** The path of a field as errors show it: `["steps", 2, "id"]` as `steps[2].id`. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return text === "" ? String(part) : `${text}.${String(part)}`;
  }, "");
}

type Issue = {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly code?: string;
  readonly maximum?: number | bigint;
  readonly minimum?: number | bigint;
};

/** So many wrong fields are reported: a body may have hundreds of thousands, and nobody mends more at a time. */
const MAX_FIELDS = 100;

/**
 * The wrong fields that zod reports, the first 100 of them. A number may have passed several bounds: a whole number is also bounded by what a double holds
 * exactly. Only the narrowest of these bounds is reported. Of a value of another type only the type is: zod also compares the length
 * of a text with the bounds of a list.
 */
export function fieldErrorsOf(error: { readonly issues: readonly Issue[] }): FieldError[] {
  const issues = error.issues.slice(0, MAX_FIELDS).map((issue) => ({ ...issue, path: pathText(issue.path) }));
  const isRepeated = (issue: FieldIssue) =>
    issues.some(
      (other) =>
        other !== issue &&
        other.path === issue.path &&
        (isNarrower(other, issue) || (isOfAnotherType(other) && !isOfAnotherType(issue))),
    );
  return issues.filter((issue) => !isRepeated(issue)).map(({ path, message }) => ({ path, message }));
}

type FieldIssue = Omit<Issue, "path"> & FieldError;

function isOfAnotherType({ code }: Pick<Issue, "code">): boolean {
  return code === "invalid_type";
}

function isNarrower(one: FieldIssue, other: FieldIssue): boolean {
  if (one.code !== other.code) return false;
  if (one.code === "too_big") return (one.maximum ?? Infinity) < (other.maximum ?? Infinity);
  return one.code === "too_small" && (one.minimum ?? -Infinity) > (other.minimum ?? -Infinity);
}

/** An error for the caller: a code of the table and a sentence that says what is wrong and how to put it right. */
export class AppError extends Error {
  readonly code: ErrorCode;
  /** At most 100. */
  readonly fields: FieldError[] | undefined;
  readonly retryAfterSeconds: number | undefined;
  /** The limits that have nothing left. */
  readonly quota: readonly QuotaState[];

  constructor(
    code: ErrorCode,
    detail: string,
    more: {
      fields?: FieldError[];
      retryAfterSeconds?: number;
      quota?: readonly QuotaState[];
      cause?: unknown;
    } = {},
  ) {
    super(detail, { cause: more.cause });
    this.name = "AppError";
    this.code = code;
    this.fields = more.fields?.slice(0, MAX_FIELDS);
    this.retryAfterSeconds = more.retryAfterSeconds;
    this.quota = more.quota ?? [];
  }

  get status(): number {
    return errors[this.code].status;
  }
}

/** The error of one field of a request. */
export function invalidField(path: string, message: string): AppError {
  return new AppError("invalid", `${path} ${message}.`, { fields: [{ path, message }] });
}
