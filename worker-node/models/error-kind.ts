import { TOO_LONG } from "./too-long.ts";

/**
 * What an error of a provider is about. `tools` and `images`: the model does not take them. `length`: the request is too long. `address`: the base URL leads to another server.
 * `unreadable`: the model wrote something that its own server cannot read, and may
 * write another text at the next try.
 */
export type ErrorKind =
  | "credit"
  | "key"
  | "permission"
  | "model"
  | "tools"
  | "images"
  | "length"
  | "address"
  | "request"
  | "withheld"
  | "unreadable"
  | "rate"
  | "down";

const KIND_BY_STATUS: ReadonlyMap<number, ErrorKind> = new Map([
  [400, "request"],
  [401, "key"],
  [402, "credit"],
  [403, "permission"],
  [404, "model"],
  [405, "request"],
  [406, "request"],
  [407, "address"],
  [410, "model"],
  [411, "request"],
  [412, "request"],
  [413, "length"],
  [414, "request"],
  [415, "request"],
  [421, "address"],
  [422, "request"],
  [429, "rate"],
  [431, "request"],
  // Portkey: a guardrail has refused the request or the answer.
  [446, "withheld"],
  [451, "permission"],
  [501, "request"],
  [505, "request"],
  [511, "address"],
]);

/**
 * Providers' words for a kind of error, as `toWord` writes them. They stand in `code`, `type`, `status` or `reason`. The
 * first kind that has a word of the error decides: an account without credit is also reported as a rate limit.
 */
const WORDS: [ErrorKind, readonly string[]][] = [
  [
    "credit",
    [
      "insufficient_quota",
      "insufficient_user_quota",
      "insufficient_balance",
      "insufficient_credit",
      "insufficient_credits",
      "insufficient_funds",
      "not_enough_balance",
      "pre_consume_token_quota_failed",
      "exceeded_current_quota",
      "credit_balance_too_low",
      "out_of_credits",
      "payment_required",
      "billing",
      "billing_hard_limit_reached",
      "billing_not_active",
      "arrearage",
      "account_overdue",
      "credit_limit",
      "budget_exceeded",
      "allocation_quota_free_tier_only",
    ],
  ],
  [
    "key",
    [
      "api_key_invalid",
      "invalid_api_key",
      "incorrect_api_key",
      "authentication",
      "invalid_authentication",
      "unauthenticated",
      "unauthorized",
      "account_deactivated",
      "access_terminated",
    ],
  ],
  [
    "permission",
    ["permission", "permission_denied", "forbidden", "access_denied", "unsupported_country_region_territory"],
  ],
  [
    "model",
    [
      "model_not_found",
      "not_found",
      "deployment_not_found",
      "unknown_model",
      "model_not_exist",
      "model_not_available",
      "model_not_supported",
      "model_decommissioned",
      "model_deprecated",
      "invalid_model",
    ],
  ],
  [
    "withheld",
    [
      "content_filter",
      "content_policy_violation",
      "data_inspection_failed",
      "content_blocked",
      "moderation",
      "moderation_blocked",
      "hooks_failed",
    ],
  ],
  ["unreadable", ["tool_use_failed", "json_validate_failed", "output_parse_failed"]],
  [
    "rate",
    [
      "rate_limit",
      "rate_limit_exceeded",
      "rate_limit_reached",
      "rate_limited",
      "resource_exhausted",
      "too_many_requests",
      "throttling",
      "limit_requests",
      "service_quota_exceeded",
      "usage_limit_reached",
    ],
  ],
  [
    "length",
    ["context_length_exceeded", "exceed_context_size", "request_too_large", "string_above_max_length"],
  ],
  [
    "request",
    [
      "invalid_argument",
      "failed_precondition",
      "out_of_range",
      "bad_request",
      "invalid_prompt",
      "invalid_value",
      "invalid_parameter",
      "unsupported_parameter",
      "unsupported_value",
      "unprocessable_entity",
      "validation",
    ],
  ],
  [
    "down",
    [
      "overloaded",
      "engine_overloaded",
      "model_overloaded",
      "server_overloaded",
      "unavailable",
      "service_unavailable",
      "internal",
      "internal_server",
      "deadline_exceeded",
      "timeout",
      "gateway_timeout",
      "bad_gateway",
      "upstream",
    ],
  ],
];
/** Words that gateways also put on errors of other kinds: they count only when no other word and no status is known. */
const GENERIC_WORDS: ReadonlyMap<string, ErrorKind> = new Map([
  ["invalid_request", "request"],
  ["api", "down"],
  ["server", "down"],
]);
const KIND_BY_WORD: ReadonlyMap<string, ErrorKind> = new Map(
  WORDS.flatMap(([kind, words]) => words.map((word): [string, ErrorKind] => [word, kind])),
);

/**
 * Sentences by which providers report an error whose code is generic or wrong. The first sentence that matches decides.
 * `instead`: the kinds by code that the sentence replaces; null: all. It also counts where no code says anything. `below`: it counts
 * under statuses below this one alone.
 */
const SENTENCES: {
  kind: ErrorKind;
  instead: readonly ErrorKind[] | null;
  below?: number;
  pattern: RegExp;
}[] = [
  {
    kind: "credit",
    instead: null,
    pattern:
      /credit balance is too low|insufficient (?:account )?(?:balance|credits?|funds)|out of credits|used all available credits|exceeded your monthly included credits|(?:spend|spending) limit|reached your specified (?:API |workspace )?usage limits|in arrears|余额不足|欠费|budget has been exceeded|key limit exceeded|balance is insufficient|credits are depleted|spending cap\b|\b(?:quota|balance) is not enough/i,
  },
  {
    kind: "credit",
    instead: ["request", "permission"],
    pattern: /\badd a payment method\b|\btrial (?:has )?(?:ended|expired)\b/i,
  },
  // Gemini's word for a model that the account may not use at all: the limit never comes back.
  { kind: "credit", instead: ["rate"], pattern: /\blimit: 0\b/i },
  { kind: "length", instead: ["rate", "down", "request"], pattern: TOO_LONG },
  // Under 404 too, where a gateway has no server of the model that takes them. A format that is not supported is of one image alone.
  {
    kind: "images",
    instead: ["request", "model"],
    pattern:
      /\bsupport(?:s|ed)?\b.{0,20}\b(?:image|vision|multimodal)(?!\/|s? (?:format|type|size))|\b(?:image|vision)(?!\/|s? (?:format|type|size))[^.]{0,40}\bnot (?:supported|enabled)|unknown variant `image_url`/i,
  },
  {
    kind: "tools",
    instead: ["request", "model"],
    pattern: /\bsupport (?:tools?|function calling)\b|\btool choice requires\b/i,
  },
  // The server of a model that wrote a call which is no JSON. Before `tools`, of which the sentence also speaks.
  {
    kind: "unreadable",
    instead: ["request", "down"],
    pattern:
      /\b(?:pars(?:e|ing)|invalid) (?:the )?(?:tool|function) (?:call|parameter)(?:s|'s)?\b(?:.{0,20}\b(?:arguments|json)\b|: raw)/i,
  },
  // What may pass, as a bad request: an overload behind a gateway, and a model that LM Studio was unloading or loading.
  {
    kind: "down",
    instead: ["request"],
    pattern:
      /\b(?:currently|temporarily) (?:overloaded|unavailable|at capacity)\b|\bserver is (?:busy|overloaded)\b|\bmodel (?:is |was |has )?(?:been )?(?:unloaded|crashed)\b|\bfailed to load model\b/i,
  },
  {
    kind: "permission",
    instead: ["request"],
    pattern: /location is not supported|not (?:available|supported) in your (?:country|region)/i,
  },
  // Under 403 (xAI), 400 (Anthropic), 424 (Cloudflare) and 200 (MiniMax). A gateway that has no answer in time also says that it is blocked.
  {
    kind: "withheld",
    instead: ["request", "permission", "down"],
    below: 500,
    pattern:
      /\bflagged\b|\bsensitive (?:content|information)\b|\bnew_sensitive\b|敏感内容|\b(?:usage|content|safety)(?: \w+)? (?:guidelines?|polic(?:y|ies))\b|\bsafety system\b|\b(?:prompt|input|output|response|answer|content)\b[^.]{0,20}\bblocked\b|\bviolat\w*\b[^.]{0,30}\b(?:moderation|guardrails?)\b/i,
  },
  {
    kind: "model",
    instead: ["request"],
    pattern:
      /\bmodel\b(?:[^.]|\.(?=\S)){0,100}\b(?:does not exist|not found|decommissioned|been (?:deprecated|retired|discontinued)|identifier is invalid)\b|not a valid model\b|\b(?:unknown|unsupported) model\b|\bmodel ['"`]?[\w./:-]+['"`]? is not (?:supported|available)\b/i,
  },
  {
    kind: "key",
    instead: ["request"],
    pattern:
      /(?:incorrect|invalid|missing) api.?key|api.?key (?:not valid|expired|has expired|is (?:missing|required|invalid))|\blogin fail\b/i,
  },
  { kind: "rate", instead: ["down"], pattern: /\brate.?limit|\btoo many requests\b|\bquota exceeded\b/i },
  { kind: "request", instead: [], pattern: /\binvalid (?:params?|parameters?|request)\b|\bbad request\b/i },
];

/** The kind of an error, from its status, the words of its codes as `toWord` writes them, and all its sentences. */
export function kindOfError({
  status,
  words,
  message,
}: {
  status: number | undefined;
  words: readonly string[];
  message: string;
}): ErrorKind {
  const byCode = kindByCode(status, words);
  const sentence = SENTENCES.find(
    ({ instead, below = Infinity, pattern }) =>
      (instead === null || byCode === undefined || instead.includes(byCode)) &&
      (status ?? 0) < below &&
      pattern.test(message),
  );
  return sentence?.kind ?? byCode ?? "down";
}

/** The kind by the codes of an error; undefined: none of them says anything, as in the middle of a stream. */
function kindByCode(status: number | undefined, words: readonly string[]): ErrorKind | undefined {
  const kinds = words.map((word) => KIND_BY_WORD.get(word));
  if (kinds.includes("credit")) return "credit";
  // Too large for the server, whatever limit its code names.
  if (status === 413) return "length";
  const known = kinds.find((kind) => kind !== undefined);
  if (known !== undefined) return known;
  const generic = words.map((word) => GENERIC_WORDS.get(word)).find((kind) => kind !== undefined);
  // No redirect is followed: the key would go with it.
  if (status !== undefined && status >= 300 && status < 400) return "address";
  // A status from 500 on is a failure of the server. An unknown status below that is treated alike: another try may succeed.
  return status === undefined || status < 300 ? generic : (KIND_BY_STATUS.get(status) ?? "down");
}

/** `BadRequestError`, `bad_request_error`, `Bad Request` and `com.vendor#BadRequest` are one word. */
export function toWord(text: string): string {
  return text
    .slice(text.lastIndexOf("#") + 1)
    .trim()
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .replace(/_(?:error|exception)$/, "");
}
