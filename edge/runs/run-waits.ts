import { z } from "zod";
import { ShownVote } from "../../shared/contracts/approval.ts";
import type { Decision } from "../../shared/contracts/approval.ts";
import { FormField } from "../../shared/contracts/definition/human.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { RunStatus, TERMINAL } from "../../shared/contracts/run.ts";
import { clientKeyOf } from "../../shared/contracts/singleton-key.ts";
import { pathOfWait, stepOfPath } from "../../shared/journal/track.ts";
import { listOpenWaits } from "../../shared/store/runs/open-waits.ts";
import type { OpenWait, Question } from "../../shared/store/runs/open-waits.ts";
import { listChildren } from "../../shared/store/runs/read-runs.ts";
import type { ChildRow, FoundRun, RunRow } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

const time = z.iso.datetime().nullable();

/** A field of a form, for the API's document: its generator takes `exactOptional` for required, so optional fields are named here. */
const ShownField = FormField.partial({
  placeholder: true,
  description: true,
  default: true,
  min: true,
  max: true,
  pattern: true,
});

/** What a run, or a branch of it, waits for. */
export const RunWait = z.discriminatedUnion("reason", [
  z.object({ reason: z.literal("retry"), until: z.iso.datetime() }),
  /** The run has not started: `delay_seconds` or `run_at` says when it does. */
  z.object({ reason: z.literal("delay"), until: z.iso.datetime() }),
  /** Another run has its singleton key. */
  z.object({ reason: z.literal("singleton"), singleton_key: z.string() }),
  z.object({
    reason: z.literal("timer"),
    step_id: z.string(),
    path: z.string(),
    since: z.iso.datetime(),
    until: z.iso.datetime(),
  }),
  z.object({
    reason: z.literal("human"),
    /** Names the question in an answer. */
    question_id: z.string(),
    step_id: z.string(),
    /** Where the step is: `fanout[1].ask` in a branch or a loop, elsewhere its id. */
    path: z.string(),
    prompt: z.string(),
    fields: z.array(ShownField),
    asked_at: z.iso.datetime(),
    expires_at: time,
    /** The approvers and their votes; null: anyone may answer, and the first answer counts. */
    approval: z
      .object({
        approvers: z.array(z.string()),
        /** Null: the first answer of an approver counts. */
        needed: z.number().int().nullable(),
        approved: z.number().int(),
        rejected: z.number().int(),
        /** How often the question has gone to a further group. */
        level: z.number().int(),
        votes: z.array(ShownVote),
      })
      .nullable(),
  }),
  z.object({
    reason: z.literal("budget"),
    budget_id: z.string(),
    step_id: z.string(),
    path: z.string(),
    sentence: z.string(),
    since: z.iso.datetime(),
    /** When the run tries again by itself; null: another part of it moves. */
    until: time,
  }),
  /** The end of a run that this one has started. */
  z.object({
    reason: z.literal("child"),
    run_id: RunId,
    orchestration_id: z.string(),
    step_id: z.string(),
    path: z.string(),
  }),
]);

export type RunWait = z.infer<typeof RunWait>;

/** A run that a step has started. */
export const Child = z.object({
  run_id: RunId,
  orchestration_id: z.string(),
  /** The step of this run, and where it is: `fanout[1].research` in a branch or a loop, elsewhere its id. */
  step_id: z.string(),
  path: z.string(),
  status: RunStatus,
});

/** The open waits and the children of a run. */
export type Related = { openWaits: readonly OpenWait[]; children: readonly ChildRow[] };

/** Reads the open questions, timers and waits for budgets of a run, and its children. */
export async function readRelated(sql: Sql, { run_id, waits, has_children }: FoundRun): Promise<Related> {
  const [openWaits, children] = await Promise.all([
    // A wait of a branch may be open while other branches move.
    waits ? listOpenWaits(sql, run_id) : [],
    has_children ? listChildren(sql, run_id) : [],
  ]);
  return { openWaits, children };
}

/**
 * What a run waits for: its open waits and the children whose end it awaits. Without any of these, a run that is queued for a later
 * time waits for the holder of its singleton key, for the next try of a step (attempt 1 or more), or for its delayed start. A chat
 * turn that waits for another turn has no time of its own, and shows no wait.
 */
export function waitsOf(
  row: RunRow,
  openWaits: readonly OpenWait[],
  children: readonly ChildRow[],
): RunWait[] {
  if (TERMINAL.has(row.status)) return [];
  const awaited = children.filter(({ status, wait_id }) => wait_id !== null && !TERMINAL.has(status));
  const waits = [
    ...openWaits.map((wait) => waitOf(wait, row)),
    ...awaited.map((child) => ({ reason: "child" as const, ...placeOf(child) })),
  ];
  if (waits.length > 0) return waits;
  const until = isoTime(row.wake_at_ms);
  if (row.status !== "queued" || until === null || (row.due_in_ms ?? 0) <= 0) return [];
  if (row.waits_for_key)
    return [{ reason: "singleton", singleton_key: clientKeyOf(row.singleton_key ?? "") }];
  if (row.attempt > 0) return [{ reason: "retry", until }];
  return row.delayed ? [{ reason: "delay", until }] : [];
}

/** A child as its parent shows it. */
export function childOf(child: ChildRow): z.infer<typeof Child> {
  return { ...placeOf(child), status: child.status };
}

function placeOf({ run_id, orchestration_id, step_path }: ChildRow) {
  return { run_id, orchestration_id, step_id: stepOfPath(step_path), path: step_path };
}

function waitOf(wait: OpenWait, row: RunRow): RunWait {
  const { wait_id, step_id, opened_at_ms } = wait;
  const path = pathOfWait(wait);
  if (wait.kind === "timer") {
    return {
      reason: "timer",
      step_id,
      path,
      since: isoTime(opened_at_ms),
      until: isoTime(wait.deadline_at_ms),
    };
  }
  if (wait.kind === "budget") {
    return {
      reason: "budget",
      budget_id: wait.fields.budget_id,
      step_id,
      path,
      sentence: wait.prompt,
      since: isoTime(opened_at_ms),
      until: row.status === "paused" ? isoTime(row.wake_at_ms) : null,
    };
  }
  const { prompt, fields, deadline_at_ms } = wait;
  const asked_at = isoTime(opened_at_ms);
  const expires_at = isoTime(deadline_at_ms);
  const approval = approvalOf(wait);
  return {
    reason: "human",
    question_id: wait_id,
    step_id,
    path,
    prompt,
    fields,
    asked_at,
    expires_at,
    approval,
  };
}

function approvalOf({ approvers, approvals_needed: needed, level, votes }: Question) {
  if (approvers === null) return null;
  const countOf = (of: Decision): number => votes.filter(({ decision }) => decision === of).length;
  return {
    approvers,
    needed,
    approved: countOf("approve"),
    rejected: countOf("reject"),
    level,
    votes,
  };
}
