import { z } from "zod";
import { DefinitionId, TenantId } from "../../shared/contracts/ids.ts";
import { JsonRecord } from "../../shared/contracts/json.ts";
import { SingletonPolicy } from "../../shared/contracts/run.ts";
import { RunTemplate } from "../../shared/contracts/schedule.ts";
import type { Schedule, TickRecord } from "../../shared/contracts/schedule.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { CronError, MAX_CRON_CHARS, nextTick, parseCron } from "../../shared/schedules/cron.ts";
import { startOf } from "../../shared/schedules/ticks.ts";
import { readSchedule } from "../../shared/store/schedules/schedule-rows.ts";
import type { NextTick } from "../../shared/store/schedules/schedule-rows.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { tenantOf } from "../http/middleware/principal.ts";
import { isoTime } from "../../shared/text/iso-time.ts";
import type { Services } from "../services.ts";
import { TemplateFields } from "./run-template.ts";

const MAX_JITTER_SECONDS = 3_600;
/** The most late ticks that are started after an outage. */
const MAX_CATCH_UP = 100;

export const TenantQuery = z.object({ tenant_id: TenantId.optional() });

export const ScheduleRequest = z
  .object({
    tenant_id: TenantId.nullish(),
    orchestration_id: DefinitionId,
    cron: z
      .string()
      .max(MAX_CRON_CHARS)
      .meta({ description: "Five fields: minute, hour, day of month, month, day of week; with `L` and `#`" }),
    timezone: z
      .string()
      .max(64)
      .default("UTC")
      .meta({ description: "An IANA time zone, such as Europe/Berlin" }),
    jitter_seconds: z
      .number()
      .int()
      .min(0)
      .max(MAX_JITTER_SECONDS)
      .default(0)
      .meta({ description: "Each tick starts later by a part of this, the same whenever it is computed" }),
    overlap: SingletonPolicy.default("skip").meta({
      description:
        "What becomes of a tick while a run of the schedule goes on: as `singleton_policy` of a run",
    }),
    catch_up: z.number().int().min(0).max(MAX_CATCH_UP).default(1).meta({
      description: "How many ticks, the newest, are started after an outage; the others are missed",
    }),
    paused: z.boolean().default(false),
    ...TemplateFields,
  })
  .meta({ id: "ScheduleRequest" });

const Tick = z.object({
  tick_at: z.iso.datetime(),
  outcome: z.enum(["started", "skipped", "missed"]),
  /** The run that was started, or for which the tick was skipped. */
  run_id: z.string().nullable(),
  reason: z.string().nullable(),
  /** Of several ticks that were missed together: the time of the last one. */
  until: z.iso.datetime().nullable(),
});

export const ScheduleView = z
  .object({
    id: DefinitionId,
    tenant_id: z.string(),
    orchestration_id: z.string(),
    cron: z.string(),
    timezone: z.string(),
    jitter_seconds: z.number().int(),
    overlap: SingletonPolicy,
    catch_up: z.number().int(),
    paused: z.boolean(),
    message: z.string(),
    state: JsonRecord,
    metadata: JsonRecord,
    priority: z.number().int(),
    session_id: z.string().nullable(),
    webhook_url: z.string().nullable(),
    /** When the next run starts, with its jitter; null: the schedule is paused, or has no tick any more. */
    next_at: z.iso.datetime().nullable(),
    /** Why the tick that is due has no run yet, such as `queue_full`; it is tried until the next one is due. */
    refused: z.string().nullable(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "Schedule" });

/** `recent`: what became of the last ticks, the newest first. */
export const ScheduleDetails = z
  .object({ ...ScheduleView.shape, recent: z.array(Tick) })
  .meta({ id: "ScheduleDetails" });

export function viewOfSchedule(schedule: Schedule): z.infer<typeof ScheduleView> {
  const { next_tick_at_ms, created_at_ms, updated_at_ms, request, version: _version, ...shown } = schedule;
  return {
    ...shown,
    ...RunTemplate.parse(JSON.parse(request)),
    next_at: isoTime(next_tick_at_ms === null ? null : startOf(schedule, next_tick_at_ms)),
    created_at: isoTime(created_at_ms),
    updated_at: isoTime(updated_at_ms),
  };
}

export function detailsOf(schedule: Schedule, ticks: readonly TickRecord[]): z.infer<typeof ScheduleDetails> {
  const recent = ticks.map(({ tick_ms, outcome, run_id, reason, until_ms }) => ({
    tick_at: isoTime(tick_ms),
    outcome,
    run_id,
    reason,
    until: isoTime(until_ms),
  }));
  return { ...viewOfSchedule(schedule), recent };
}

/** The first tick of a schedule after `nowMs`. @throws AppError `invalid` for a wrong expression or time zone */
export function nextTickOf(
  schedule: Pick<Schedule, "tenant_id" | "id" | "cron" | "timezone" | "jitter_seconds">,
  nowMs: number,
): NextTick {
  try {
    const tick = nextTick(parseCron(schedule.cron, schedule.timezone), nowMs);
    if (tick === null) throw new CronError("cron", "names a date that never comes");
    return { tick_ms: tick, start_ms: startOf(schedule, tick) };
  } catch (error) {
    if (!(error instanceof CronError)) throw error;
    const fields = [{ path: error.field, message: error.message }];
    throw new AppError("invalid", `Not valid: ${error.field} ${error.message}.`, { fields });
  }
}

/** The tenant that a request about schedules or triggers is about. */
export function tenantOfQuery(
  principal: Principal,
  named: TenantId | undefined,
  { config }: Services,
): TenantId {
  return tenantOf(principal, named, config.DEFAULT_TENANT_ID);
}

/** The schedule that a path names. @throws AppError `not_found`, also for a schedule of another tenant */
export async function findSchedule(sql: Sql, tenant: TenantId, id: string): Promise<Schedule> {
  const schedule = await readSchedule(sql, tenant, id);
  if (!schedule) throw noSchedule(tenant, id);
  return schedule;
}

/** The error names the tenant, because a platform key without `tenant_id` means the default tenant. */
export function noSchedule(tenant: TenantId, id: string): AppError {
  return new AppError("not_found", `The tenant ${tenant} has no schedule ${id}.`);
}
