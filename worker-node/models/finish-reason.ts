/** What a finish reason means. `cut`: the answer is not complete, and another try may bring a complete one. */
export type Finish = "complete" | "limit" | "withheld" | "cut";

/** Words for the end of an answer, in lower case, of the providers and of the servers that run models. */
const MEANINGS: { [meaning in Exclude<Finish, "cut">]: readonly string[] } = {
  complete: [
    "stop",
    "end_turn",
    "stop_sequence",
    "tool_calls",
    "tool_call",
    "tool_use",
    "function_call",
    "eos",
    "eos_token",
    "stop_token",
    "stop_sequence_reached",
    "stop_criteria_met",
    "stop_string_found",
    "eos_found",
    "end_of_sequence",
    "endoftext",
    "end_of_text",
    "end_of_turn",
    "eot",
    "end",
    "done",
    "complete",
    "completed",
    "finish",
    "finished",
    "normal",
    "",
  ],
  limit: [
    "length",
    "max_tokens",
    "max_output_tokens",
    "max_completion_tokens",
    "max_length",
    "max_new_tokens",
    "max_tokens_reached",
    "maximum_tokens",
    "model_length",
    "token_limit",
    "limit",
    "model_context_window_exceeded",
    "context_length",
    "context_length_reached",
    "max_predicted_tokens_reached",
    "error_limit",
  ],
  withheld: [
    "content_filter",
    "content_filtered",
    "refusal",
    "safety",
    "image_safety",
    "image_prohibited_content",
    "image_recitation",
    "model_armor",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "language",
    "sensitive",
    "guardrail_intervened",
    "moderation",
    "blocked",
    "flagged",
    "error_toxic",
  ],
};

const MEANING_BY_WORD: ReadonlyMap<string, Finish> = new Map(
  (["complete", "limit", "withheld"] as const).flatMap((meaning) =>
    MEANINGS[meaning].map((word): [string, Finish] => [word, meaning]),
  ),
);

/**
 * The meaning of a provider's word for the end of its answer. Any word that is not known counts as `cut`: servers have words of their
 * own for an abort, an error, an overload.
 */
export function finishOf(word: string): Finish {
  return MEANING_BY_WORD.get(normalized(word)) ?? "cut";
}

/** Whether the word promises a tool call. */
export function promisesCall(word: string): boolean {
  return /^(?:tool|function)_(?:calls?|use)$/.test(normalized(word));
}

/**
 * `toolCalls`, `tool-calls` and `TOOL_CALLS` are one word, and so are `FinishReason.TOOL_CALLS`, an enumeration of Python as text,
 * and `FINISH_REASON_TOOL_CALLS`, one of protobuf.
 */
function normalized(word: string): string {
  return word
    .trim()
    .replace(/^[A-Za-z]+\./, "")
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .replaceAll("-", "_")
    .replace(/^finish_reason_/, "");
}
