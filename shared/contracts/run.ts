import { z } from "zod";
import { FileReference } from "./artifact.ts";
import { DefinitionId, RunId, SessionId, TenantId } from "./ids.ts";
import { JsonRecord } from "./json.ts";
import type { QuotaState } from "./quota.ts";
import type { ErrorCode } from "../errors.ts";

/** The status of a run. */
export const RunStatus = z.enum(["queued", "running", "paused", "completed", "failed", "cancelled"]);
export type RunStatus = z.infer<typeof RunStatus>;

/** The statuses of runs that have ended. Only a client's retry changes one. */
export const TERMINAL: ReadonlySet<RunStatus> = new Set(["completed", "failed", "cancelled"]);

/** Classes of work that do not wait for each other. */
export const Lane = z.enum(["interactive", "default", "bulk", "mail", "webhooks"]);
export type Lane = z.infer<typeof Lane>;

/** The lanes that a client may choose for a run. In the others workers send mails and webhook deliveries. */
export const RunLane = Lane.extract(["interactive", "default", "bulk"]);
export type RunLane = z.infer<typeof RunLane>;

/** Whether a lane is one of runs. */
export function isRunLane(lane: Lane): lane is RunLane {
  return RunLane.safeParse(lane).success;
}

/** The input of a run as it is stored: the part of the request that a worker needs. */
export const RunInput = z.object({
  message: z.string(),
  state: JsonRecord,
  /** The images of a chat turn's message, as data URIs. */
  images: z.array(z.string()).exactOptional(),
  /** The files attached to a chat turn's message. Another run has its attachments in state. */
  attachments: z.array(FileReference).exactOptional(),
});
export type RunInput = z.infer<typeof RunInput>;

/** What makes a run a turn of a chat session. Its definition is a version that the edge has stored: see `turnDefinition`. */
export const NewTurn = z.object({
  session: SessionId,
  definition_tenant: z.string(),
  definition_version: z.number().int(),
  /** True: the turn is refused if another turn of its session has not ended; false: it waits for that turn. */
  rejects_busy: z.boolean(),
  /** True: all earlier turns of its session are to be cancelled. */
  interrupts: z.literal(true).exactOptional(),
});
export type NewTurn = z.infer<typeof NewTurn>;

/** What makes a run that of a tick: its schedule, with the version and the next tick that the worker has read. It starts only while these hold. */
const NewTick = z.object({ schedule: z.string(), version: z.number(), next_tick_ms: z.number() });

/**
 * What becomes of a run whose singleton key another run of its tenant has: it is not started (`skip`), it waits for that
 * run's end (`queue`), or it waits and that run is cancelled (`cancel_previous`).
 */
export const SingletonPolicy = z.enum(["skip", "queue", "cancel_previous"]);
export type SingletonPolicy = z.infer<typeof SingletonPolicy>;

/** A run as the edge submits it: it is admitted, then committed. */
export const NewRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  orchestration_id: DefinitionId,
  lane: Lane,
  priority: z.number().int().min(0).max(10),
  correlation_id: z.string(),
  session_id: z.string().nullable(),
  triggered_by: z.enum(["api", "cron", "webhook", "manual", "system"]),
  /** JSON text of a `RunInput`. */
  input: z.string(),
  /** JSON text of the client's metadata. */
  metadata: z.string(),
  /** `metadata.user`, where a budget can name it. */
  end_user: z.string().nullable(),
  delay_ms: z.number().int().nonnegative(),
  /** The run is not started before this time; with a delay, not before the later of both. Absent: at once. */
  starts_at: z.iso.datetime().exactOptional(),
  /** Of the runs of a tenant with this key, one moves at a time. */
  singleton: z.object({ key: z.string(), policy: SingletonPolicy }).exactOptional(),
  /** The batch that the run was submitted with, and its place there. */
  batch: z.object({ id: z.string(), index: z.number().int() }).exactOptional(),
  idempotency_key: z.string().nullable(),
  request_hash: z.string().nullable(),
  /**
   * The webhook of the run, and the secret that signs its requests, sealed for the place `webhook_secret` of this
   * run.
   */
  webhook_url: z.string().nullable(),
  webhook_secret: z.string().nullable(),
  /** The context of the request that starts the run, as W3C writes it. Absent or null: there is none. */
  traceparent: z.string().max(55).nullish(),
  /** Absent: the run is no chat turn. */
  turn: NewTurn.exactOptional(),
  /** Absent: the run is not of a schedule's tick, or a worker of an earlier version starts it. */
  tick: NewTick.exactOptional(),
});
export type NewRun = z.infer<typeof NewRun>;

/** The most bytes of one tenant that wait in each part of the edge that holds requests, such as an isolate or an intake object. */
export const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** Why a run is not accepted, as data: an AppError would lose its class in the RPC reply of the intake object. */
export type Refusal = {
  code: ErrorCode;
  detail: string;
  retryAfterSeconds?: number;
  /** The limits that have nothing left. */
  quota?: readonly QuotaState[];
};

/**
 * The result of a submit. `replayed`: the run was accepted before, under the same Idempotency-Key. `skipped`: no run was
 * started, because `run_id` has the singleton key. `waits`: the run is a chat turn that begins when the turns before it have
 * ended.
 */
export type SubmitResult =
  | {
      is: "accepted";
      run_id: RunId;
      replayed: boolean;
      skipped: boolean;
      waits?: boolean;
      /** What the tenant had left when the run was admitted. */
      quota?: readonly QuotaState[];
    }
  | ({ is: "refused" } & Refusal);

/** The reason of a run's failure, as it is stored. */
export const RunError = z.object({
  code: z.string(),
  message: z.string(),
  step_id: z.string().nullable(),
});
export type RunError = z.infer<typeof RunError>;
