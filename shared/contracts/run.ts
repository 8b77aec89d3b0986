import { z } from "zod";
import { DefinitionId, RunId, TenantId } from "./ids.ts";
import { JsonValue } from "./json.ts";
import type { ErrorCode } from "../errors.ts";

export const RunStatus = z.enum(["queued", "running", "paused", "completed", "failed", "cancelled"]);
export type RunStatus = z.infer<typeof RunStatus>;

export const TERMINAL: ReadonlySet<RunStatus> = new Set(["completed", "failed", "cancelled"]);

/** Kinds of work that do not wait for each other; `queue/lanes.ts` says how they share. */
export const Lane = z.enum(["interactive", "default", "bulk", "mail", "webhooks"]);
export type Lane = z.infer<typeof Lane>;

/** What a run was started with, as it is stored: the worker's view of the request. */
export const RunInput = z.object({
  message: z.string(),
  state: z.record(z.string(), JsonValue),
});
export type RunInput = z.infer<typeof RunInput>;

/** A run that has been admitted and is about to be committed. */
export const NewRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  orchestration_id: DefinitionId,
  lane: Lane,
  priority: z.number().int().min(0).max(10),
  correlation_id: z.string(),
  session_id: z.string().nullable(),
  triggered_by: z.enum(["api", "cron", "webhook", "manual", "system"]),
  /** JSON text of RunInput. */
  input: z.string(),
  /** JSON text of the client's metadata. */
  metadata: z.string(),
  delay_ms: z.number().int().nonnegative(),
  idempotency_key: z.string().nullable(),
  request_hash: z.string().nullable(),
  /** Whom its end is told, and the secret that this is signed with: sealed for `webhook_secret` of this run. */
  webhook_url: z.string().nullable(),
  webhook_secret: z.string().nullable(),
});
export type NewRun = z.infer<typeof NewRun>;

/** Why a run is not accepted, as data: an error loses its class on its way between two objects. */
export type Refusal = { code: ErrorCode; detail: string; retryAfterSeconds?: number };

/** The result of a submit. `replayed`: the run was accepted before, under the same Idempotency-Key. */
export type SubmitResult =
  | { is: "accepted"; run_id: RunId; replayed: boolean }
  | ({ is: "refused" } & Refusal);

/** What is stored as the reason of a failure. */
export const RunError = z.object({
  code: z.string(),
  message: z.string(),
  step_id: z.string().nullable(),
});
export type RunError = z.infer<typeof RunError>;
