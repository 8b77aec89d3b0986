import { z } from "zod";
import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/** A question that an MCP server asks a person during a call. `name` is the server's; `schema` says what an answer has. */
const McpQuestion = z.object({ name: z.string(), message: z.string(), schema: JsonRecord });
export type McpQuestion = z.infer<typeof McpQuestion>;

/** A task that an MCP server has made of a call. */
const McpTask = z.object({
  id: z.string(),
  /** The protocol whose methods reach it: since 2026-07-28 it is an extension. */
  protocol: z.enum(["2025-11-25", "2026-07-28"]),
  /** Of protocol 2025-11-25: the session in which the server has the task, if it has sessions. It stays open until the task ends. */
  session: z.string().max(1_024).nullable(),
  /** The pause between two polls that the server asks for, in milliseconds; null: it does not say. */
  poll_ms: z.number().nullable(),
  /** When the task began, in milliseconds since 1970, by the clock of the worker that made the call. */
  began_at_ms: z.number(),
  /** The questions that have an answer: a server may repeat them until it has read it. */
  answered: z.array(z.string()),
});
export type McpTask = z.infer<typeof McpTask>;

/**
 * What a call of an MCP tool waits for, as the journal keeps it. `key`: the effect key of the call. `round`: how often the server has
 * asked for something. `state`: what the server wants back with the answers.
 */
export const McpPending = z.object({
  key: z.string(),
  round: z.number().int().positive(),
  state: z.string().nullable(),
  questions: z.array(McpQuestion),
  /** The ids of the questions whose answers, or ends, are in the events. */
  reported: z.array(z.string()).exactOptional(),
  task: McpTask.nullable(),
});
export type McpPending = z.infer<typeof McpPending>;

/** The answer of a person to a question, in the form of MCP. `content`: only with `accept`. */
export type McpAnswer = { action: "accept" | "decline" | "cancel"; content?: JsonObject };

/**
 * One call of an MCP tool, or its continuation. `pending`: what the call waited for; null: it is not made yet. `answers`: by the names of
 * the questions.
 */
export type McpRequest = {
  runId: RunId;
  /** For log lines: the run's. */
  tenantId: TenantId;
  tool: JsonObject;
  args: Json;
  effectKey: string;
  signal: AbortSignal;
  /** The context of the call; absent: the worker does not trace. */
  traceparent?: string;
  /** The correlation id of the run. */
  correlationId?: string;
  pending: McpPending | null;
  answers: Readonly<Record<string, McpAnswer>>;
};

/**
 * The outcome of a call of an MCP tool, or of its continuation. `waits`: the call waits for the questions of `pending`; without questions
 * it waits for `afterMs`. `isNew`: `pending` has to be committed before anything waits for it.
 */
export type McpOutcome =
  | { is: "result"; value: Json }
  | { is: "waits"; pending: McpPending; isNew: boolean; afterMs: number };
