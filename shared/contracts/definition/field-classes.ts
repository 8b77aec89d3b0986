/**
 * What becomes of a field of a definition. Every accepted field is in this table, and a field that is not in it is refused.
 *
 * - `read`: a run, a check or an answer of the API reads it.
 * - `kept`: for editors and people. GET gives it back as it was saved, and no run reads it.
 * - `record`: what the predecessor, or our own answer, wrote about the definition. It is accepted and not kept.
 * - `ignored`: a setting of the predecessor that has no effect here, whatever its value is. It is accepted and not kept.
 * - `later`: it would change a run and is not built yet. It is refused with `not_yet` and with what to do `instead`, unless it is empty
 *   or has a value of `noEffect`, which asks for what the engine does anyway.
 */
export type FieldClass =
  | "read"
  | "kept"
  | "record"
  | "ignored"
  | { later: true; noEffect: readonly unknown[]; instead: string };

type Table = { readonly [field: string]: FieldClass };

const all = (fieldClass: FieldClass, fields: string): Table =>
  Object.fromEntries(fields.split(" ").map((field) => [field, fieldClass]));

const later = (instead: string, ...noEffect: readonly unknown[]): FieldClass => ({
  later: true,
  noEffect,
  instead,
});

const STDIO_INSTEAD =
  "name an entry of the operator's MCP_STDIO_ALLOW as command, which holds the whole command line, or start it behind a gateway that speaks Streamable HTTP, and save the URL of that as a server of type remote";

/** The class of each accepted field, by kind of record. */
export const fieldClasses = {
  orchestration: {
    ...all("read", "id name description steps entry_step_id state_schema"),
    ...all("read", "max_total_turns max_total_cost_usd timeout_minutes trigger public"),
    ...all("kept", "avatar"),
    // `edges` is a drawing of the targets that the steps name.
    ...all("record", "version created_at updated_at edges"),
  },
  stateField: { ...all("read", "type default"), ...all("kept", "description") },
  step: {
    ...all("kept", "position_x position_y"),
    ...all("read", "id name type input_keys output_key next_step_id max_iterations timeout_seconds retry"),
    ...all("read", "prompt_template model agent_id max_turns allowed_tools forced_tool output_schema"),
    ...all("read", "evaluator_prompt route_map route_descriptions default_route"),
    ...all(
      "read",
      "parallel_branches merge_strategy loop_count loop_step_ids for_each concurrency on_branch_error",
    ),
    ...all("read", "human_prompt human_fields human_channel_id human_timeout_seconds"),
    ...all("read", "on_timeout timeout_step_id approvers approvals_needed escalate_to"),
    ...all("read", "wait_seconds wait_until"),
    ...all("read", "transform_code if_condition if_true_step_id if_false_step_id"),
    ...all("read", "switch_expression switch_cases switch_default_step_id print_content"),
    ...all("read", "orchestration_id input child_state on_child_error"),
    ...all("read", "cache_responses_enabled cache_response_ttl_seconds background"),
    cache_semantic_enabled: later(
      "leave it out; cache_responses_enabled takes the answer to an earlier request that is the same",
      false,
    ),
    // A part of cache_semantic_enabled, which is refused. The predecessor does not cache the calls of tools either.
    ...all("ignored", "cache_response_threshold cache_tools_enabled cache_tool_ttl_seconds"),
    include_full_history: later(
      "leave it out; a step that runs again has the newest value of its output_key, and a transform can collect the earlier ones under another key",
      false,
    ),
  },
  retry: all("read", "attempts base_seconds max_seconds"),
  humanField: all(
    "read",
    "key name label type options required placeholder description default min max pattern",
  ),
  escalation: all("read", "after_seconds approvers"),
  agent: {
    ...all(
      "read",
      "id name type system_prompt tools model provider max_turns orchestration_id orchestration_ids delegate_agent_ids compact_at_chars public",
    ),
    ...all("kept", "description avatar"),
    ...all("record", "version created_at updated_at"),
    // An agent has no tools but those that it names.
    ...all("ignored", "skip_default_tools"),
    repos: later("give it tools that read the code, such as those of an MCP server"),
    db_configs: later("give it a tool of type sql"),
  },
  tool: {
    ...all(
      "read",
      "name description tool_type method url headers public_headers inputSchema outputSchema response parallel reconcile retry_safe timeout_seconds connection code public",
    ),
    ...all("kept", "generalName"),
    ...all("record", "id version created_at updated_at"),
  },
  reconcile: all("read", "method url found"),
  mcpServer: {
    ...all(
      "read",
      "name description server_type url command headers public_headers token oauth wait_timeout_seconds public",
    ),
    ...all("kept", "label"),
    ...all("record", "id version created_at updated_at listing status"),
    enabled: later("leave the server out, or delete it", true),
    ...all(later(STDIO_INSTEAD), "args env"),
  },
  oauthClient: all("read", "issuer client_id client_secret scope"),
} satisfies { [record: string]: Table };

/**
 * Whether the value of a field that is not built yet asks for something. A null or empty value means that the field is
 * absent, and a value of `noEffect` asks for what happens anyway.
 */
export function asksForSomething(value: unknown, noEffect: readonly unknown[]): boolean {
  if (value === null || value === "" || value === undefined) return false;
  if (typeof value === "object") return Object.keys(value).length > 0;
  return !noEffect.includes(value);
}
