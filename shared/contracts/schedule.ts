import { z } from "zod";
import { DefinitionId, TenantId } from "./ids.ts";
import { JsonRecord } from "./json.ts";
import { SingletonPolicy } from "./run.ts";

/** The most schedules, and the most triggers, of one tenant. */
export const MAX_PER_TENANT = 1_000;

/** What each run of a schedule or a trigger starts with, as it is stored. */
export const RunTemplate = z.object({
  message: z.string(),
  state: JsonRecord,
  metadata: JsonRecord,
  priority: z.number().int(),
  session_id: z.string().nullable(),
  webhook_url: z.string().nullable(),
});
export type RunTemplate = z.infer<typeof RunTemplate>;

/** A schedule as it is stored. Times in milliseconds since 1970; `next_tick_at_ms` is null while it is paused. */
export const Schedule = z.object({
  tenant_id: TenantId,
  id: DefinitionId,
  orchestration_id: DefinitionId,
  cron: z.string(),
  timezone: z.string(),
  jitter_seconds: z.number(),
  overlap: SingletonPolicy,
  catch_up: z.number(),
  paused: z.boolean(),
  /** JSON text of a RunTemplate. */
  request: z.string(),
  version: z.number(),
  next_tick_at_ms: z.number().nullable(),
  refused: z.string().nullable(),
  created_at_ms: z.number(),
  updated_at_ms: z.number(),
});
export type Schedule = z.infer<typeof Schedule>;

/** What became of a tick. `until_ms`: the last of several ticks that were missed together. */
export const TickRecord = z.object({
  tick_ms: z.number(),
  outcome: z.enum(["started", "skipped", "missed"]),
  run_id: z.string().nullable(),
  reason: z.string().nullable(),
  until_ms: z.number().nullable(),
});
export type TickRecord = z.infer<typeof TickRecord>;
