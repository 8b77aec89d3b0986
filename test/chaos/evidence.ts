/** What a chaos run leaves behind: the responses to clients, the frames of viewers, and the contents of the stores at rest. */
import type { Redis } from "ioredis";
import { z } from "zod";
import { EntryKind } from "../../shared/contracts/journal-entry.ts";
import { RunStatus } from "../../shared/contracts/run.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Calls } from "./counted-server.ts";
import type { WebhookRequest } from "./receiver.ts";

/**
 * A request to start a run, and its responses. `accepted`: the run of each 202. `unknown`: at least one response never
 * came. `cancelled`: a cancel returned "cancelled". `retried`: how many retries returned 202.
 */
export type Request = {
  /** Sent as `correlation_id`: by it the runs of this request are found. */
  id: string;
  tenant: string;
  orchestration: string;
  priority: number;
  key: string | null;
  webhook: boolean;
  accepted: string[];
  unknown: boolean;
  cancelled: boolean;
  retried: number;
};

/** An answer to a run's question that the API accepted. `signed` identifies it in the journal. */
export type AcceptedAnswer = { run: string; question: string; signed: string };

/** A response of the API that no fault explains: a 500, or a 4xx to a valid request. */
export type UnexpectedResponse = { request: string; status: number; body: string };

/** The frames that one viewer of a run received over all its connections. `complete`: it read up to the end of the stream. */
export type Viewing = {
  run: string;
  viewer: string;
  frames: { id: string; data: string }[];
  complete: boolean;
};

/** A tenant with more running or queued runs than its limit, at a time for which no fault excuses it. */
export type LimitBreach = {
  tenant: string;
  what: "running" | "queued";
  count: number;
  limit: number;
  atMs: number;
};

export const RunRow = z.object({
  run_id: z.string(),
  tenant_id: z.string(),
  orchestration_id: z.string(),
  status: RunStatus,
  attempt: z.number(),
  event_seq: z.number(),
  crash_count: z.number(),
  step_count: z.number(),
  tokens: z.coerce.number(),
  cost_micro_usd: z.coerce.number(),
  correlation_id: z.string(),
  /** The run that started it, and the wait with which that one waits for it; null: a client started it. */
  parent_run_id: z.string().nullable(),
  parent_wait_id: z.string().nullable(),
  error: z.string().nullable(),
  cancel_requested: z.boolean(),
  webhook: z.boolean(),
  queued_ms: z.number(),
  ended_ms: z.number().nullable(),
  /** The session that the run is a turn of; null: it is none. */
  chat_session: z.string().nullable(),
});
export type RunRow = z.infer<typeof RunRow>;

export const JournalRow = z.object({
  run_id: z.string(),
  seq: z.number(),
  events_n: z.number(),
  attempt: z.number(),
  kind: EntryKind,
  step_path: z.string().nullable(),
  visit: z.number().nullable(),
  output: z.string().nullable(),
  events: z.string(),
  at_ms: z.number(),
});
export type JournalRow = z.infer<typeof JournalRow>;

export const UsageRow = z.object({
  run_id: z.string(),
  seq: z.number(),
  call: z.string(),
  kind: z.string(),
  tokens: z.coerce.number(),
  cost_micro_usd: z.coerce.number(),
});
export type UsageRow = z.infer<typeof UsageRow>;

export const DeadLetterRow = z.object({
  run_id: z.string(),
  seq: z.number(),
  code: z.string(),
  resolved: z.boolean(),
});
export type DeadLetterRow = z.infer<typeof DeadLetterRow>;

export const DeliveryRow = z.object({
  delivery_id: z.string(),
  run_id: z.string(),
  seq: z.number(),
  type: z.string(),
  outcome: z.string().nullable(),
});
export type DeliveryRow = z.infer<typeof DeliveryRow>;

/** A message of a chat session. `n`: the message of the user (0), a summary (1), the answer (2). `base`: the end of its turn's id. */
export const MessageRow = z.object({
  session_id: z.string(),
  base: z.string(),
  n: z.number(),
  content: z.string(),
  cut: z.boolean(),
});
export type MessageRow = z.infer<typeof MessageRow>;

export const KeyRow = z.object({ tenant_id: z.string(), key: z.string(), run_id: z.string() });
export type KeyRow = z.infer<typeof KeyRow>;

/** Sizes of the queue's structures by name (`jobs`, `leases`, …), and the names of all other keys. */
export type RedisAtRest = { sizes: Record<string, number>; tenants: number; foreign: string[] };

/** A run of a killed worker: how long from the death to the next claim. `calm`: no other fault was active meanwhile. */
export type Takeover = { run: string; diedMs: number; ms: number; calm: boolean };

export type Evidence = {
  requests: Request[];
  acceptedAnswers: AcceptedAnswer[];
  unexpected: UnexpectedResponse[];
  runs: RunRow[];
  journal: JournalRow[];
  usage: UsageRow[];
  deadLetters: DeadLetterRow[];
  keys: KeyRow[];
  messages: MessageRow[];
  deliveries: DeliveryRow[];
  /** Requests that the receiver of webhooks got, and its responses by delivery. */
  webhookRequests: WebhookRequest[];
  receiver: Map<string, Calls>;
  redis: RedisAtRest;
  viewings: Viewing[];
  /** Frames that a viewer received before their commit. */
  framesTooEarly: { run: string; seq: number; committed: number }[];
  limitBreaches: LimitBreach[];
  takeovers: Takeover[];
  /** The longest time for which a run could move and did not, while no store was away. */
  stalls: { run: string; ms: number }[];
  /** Calls to models and tools, by effect key. */
  calls: Map<string, Calls>;
};

export type Tables = Pick<
  Evidence,
  "runs" | "journal" | "usage" | "deadLetters" | "keys" | "messages" | "deliveries"
>;

export async function readTables(sql: Sql): Promise<Tables> {
  const runs = await sql`
    select run_id, tenant_id, orchestration_id, status, attempt, event_seq, crash_count, step_count, tokens,
      cost_micro_usd, correlation_id, parent_run_id, parent_wait_id, error, cancel_requested_at is not null as cancel_requested, webhook_url is not null as webhook,
      extract(epoch from queued_at)::float8 * 1000 as queued_ms, extract(epoch from ended_at)::float8 * 1000 as ended_ms, chat_session
    from runs order by run_id`;
  const journal = await sql`
    select run_id, seq, events_n, attempt, kind, step_path, visit, output, events,
      extract(epoch from at)::float8 * 1000 as at_ms
    from journal order by run_id, seq`;
  const usage = await sql`
    select run_id, seq, call, kind, input_tokens + output_tokens as tokens, cost_micro_usd from usage`;
  const deadLetters =
    await sql`select run_id, seq, code, resolved_at is not null as resolved from dead_letters`;
  const keys = await sql`select tenant_id, key, run_id from idempotency_keys`;
  const messages = await sql`select session_id, base, n, content, cut from chat_messages`;
  const deliveries = await sql`select delivery_id, run_id, seq, type, outcome from webhook_deliveries`;
  return {
    runs: runs.map((row) => RunRow.parse(row)),
    journal: journal.map((row) => JournalRow.parse(row)),
    usage: usage.map((row) => UsageRow.parse(row)),
    deadLetters: deadLetters.map((row) => DeadLetterRow.parse(row)),
    keys: keys.map((row) => KeyRow.parse(row)),
    messages: messages.map((row) => MessageRow.parse(row)),
    deliveries: deliveries.map((row) => DeliveryRow.parse(row)),
  };
}

const TAG = "{synapse:orchestrations:default}:";
const READY = "synapse:orchestrations:default";

export async function readRedis(redis: Redis): Promise<RedisAtRest> {
  const sizes: Record<string, number> = {};
  const foreign: string[] = [];
  for (const key of await redis.keys("*")) {
    const name = key === READY ? "ready" : key.startsWith(TAG) ? key.slice(TAG.length) : null;
    if (name === null) {
      // Live streams, and what is known of the limits of providers, outlive the runs.
      if (!/^\{e\d+\}:live$|^\{?provider:/.test(key)) foreign.push(key);
      continue;
    }
    const type = await redis.type(key);
    if (type === "zset") sizes[name] = await redis.zcard(key);
    else if (type === "hash") sizes[name] = await redis.hlen(key);
  }
  return { sizes, foreign, tenants: Number(await redis.hget(`${TAG}index`, "tenants")) };
}
