import { z } from "zod";
import { DefinitionId, RunId, TenantId, plainName } from "../../shared/contracts/ids.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import type {
  DeadLetterFilter,
  DeadLetterRow,
  WholeDeadLetter,
} from "../../shared/store/runs/dead-letters.ts";
import { tenantFilterOf } from "../http/middleware/principal.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** The id of a dead letter: `<run_id>.<number of the event that ended the run>`. */
export const DeadLetterId = z
  .string()
  .regex(/^run_[0-9a-f]{12}_[0-9]{13}\.[0-9]{1,9}$/, "must look like run_2483e1773407_1780499750067.29");

/** A dead letter in the list. */
export const DeadLetter = z
  .object({
    id: z.string(),
    run_id: RunId,
    tenant_id: z.string(),
    orchestration_id: z.string(),
    code: z.string(),
    error_message: z.string(),
    step_id: z.string().nullable(),
    /** The tries of the step. */
    attempt_count: z.number().int(),
    /** The attempt of the run in which the step failed. */
    run_attempt: z.number().int(),
    first_failed_at: z.iso.datetime(),
    last_failed_at: z.iso.datetime(),
  })
  .meta({ id: "DeadLetter" });

/** A dead letter with its stack and the input of its run. */
export const DeadLetterDetail = z
  .object({
    ...DeadLetter.shape,
    stack: z.string().nullable(),
    /** The input of the run. */
    payload: JsonValue,
    resolved_at: z.iso.datetime().nullable(),
    how_to_retry: z.string(),
  })
  .meta({ id: "DeadLetterDetail" });

export function deadLetterOf(row: DeadLetterRow): z.infer<typeof DeadLetter> {
  return {
    id: deadLetterIdOf(row),
    run_id: row.run_id,
    tenant_id: row.tenant_id,
    orchestration_id: row.orchestration_id,
    code: row.code,
    error_message: row.message,
    step_id: row.step_id,
    attempt_count: row.tries,
    run_attempt: row.attempt,
    first_failed_at: isoTime(row.first_failed_at_ms),
    last_failed_at: isoTime(row.failed_at_ms),
  };
}

export function deadLetterDetailOf(row: WholeDeadLetter, path: string): z.infer<typeof DeadLetterDetail> {
  const how_to_retry =
    row.resolved_at_ms === null
      ? `When the cause is repaired, POST ${path}/retry continues the run from its last result. To go further back, ` +
        `POST /api/v2/orchestrations/runs/${row.run_id}/retry with from_step_id.`
      : "This dead letter was retried or dismissed; see the status of the run.";
  return {
    ...deadLetterOf(row),
    stack: row.stack === null ? null : placesIn(row.stack),
    payload: JsonValue.parse(JSON.parse(row.input)),
    resolved_at: isoTime(row.resolved_at_ms),
    how_to_retry,
  };
}

/** A line that a worker writes into a stack: the class of an error with its code, or a place in the program by its relative path. */
const TRACE_LINE =
  /^(?:caused by )?\w*(?:Error|Exception|Rejection|Stop)(?: \w+)?$|^ {4}at (?:[^/]+ \()?\w[\w./-]*:\d+:\d+\)?$/;

/** Leaves out all other lines: dead letters of earlier versions have whole stacks, with texts of providers and paths of machines. */
function placesIn(stack: string): string {
  return stack
    .split("\n")
    .filter((line) => TRACE_LINE.test(line))
    .join("\n");
}

export function deadLetterIdOf({ run_id, seq }: { run_id: RunId; seq: number }): string {
  return `${run_id}.${seq}`;
}

/** The run and the event number of an id that `DeadLetterId` has validated. */
export function parseDeadLetterId(id: string): { run_id: RunId; seq: number } {
  const [run, seq] = id.split(".");
  return { run_id: RunId.parse(run), seq: Number(seq) };
}

/** The filter of the list, and of the retry of many dead letters. */
export const DeadLetterSelection = z.object({
  tenant_id: TenantId.optional(),
  orchestration_id: DefinitionId.optional(),
  code: plainName(100).optional(),
});

/** The filter for the dead letters that this caller may see. @throws AppError `forbidden` when a tenant's key names another tenant */
export function deadLetterFilterOf(
  principal: Principal,
  selection: z.infer<typeof DeadLetterSelection>,
): DeadLetterFilter {
  const { tenant_id, orchestration_id = null, code = null } = selection;
  return { tenant: tenantFilterOf(principal, tenant_id), orchestration: orchestration_id, code };
}

export function noDeadLetter(): AppError {
  return new AppError("not_found", "There is no such dead letter.");
}
