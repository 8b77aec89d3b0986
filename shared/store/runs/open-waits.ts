import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { ShownVote } from "../../contracts/approval.ts";
import { BudgetWait } from "../../contracts/budget.ts";
import type { RunId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";
import { FieldsText, readPrompt } from "./waits.ts";

const common = { wait_id: z.string(), step_id: z.string(), opened_at_ms: z.number() };

/** A question as the API shows it. Times in milliseconds since 1970. */
const Question = z.object({
  ...common,
  kind: z.literal("human"),
  prompt: z.string().transform(readPrompt),
  fields: FieldsText,
  deadline_at_ms: z.number().nullable(),
  /** The only persons who may answer; null: anyone may. */
  approvers: z.array(z.string()).nullable(),
  approvals_needed: z.number().nullable(),
  level: z.number(),
  votes: jsonText(z.array(ShownVote)),
});
export type Question = z.infer<typeof Question>;

/** A timer as the API shows it. */
const Timer = z.object({ ...common, kind: z.literal("timer"), deadline_at_ms: z.number() });

/** A wait for a budget as the API shows it. `prompt`: a sentence about what the budget has left. */
const BudgetPause = z.object({
  ...common,
  kind: z.literal("budget"),
  prompt: z.string().transform(readPrompt),
  fields: jsonText(BudgetWait),
});

/** What a run waits for, as the API shows it. */
const OpenWait = z.discriminatedUnion("kind", [Question, Timer, BudgetPause]);
export type OpenWait = z.infer<typeof OpenWait>;

/** Some of the waits of a run: that with this name, those of this step. Null: all. */
export type WaitFilter = { questionId: string | null; stepId: string | null };

/**
 * The open questions, timers and waits for budgets of a run, in this order, the oldest first, 100 at most of those that the filter
 * lets through. It does not check the tenant: the caller has read the run for its principal before.
 */
export async function listOpenWaits(
  sql: Sql,
  run: RunId,
  { questionId, stepId }: WaitFilter = { questionId: null, stepId: null },
): Promise<OpenWait[]> {
  const rows = await sql`
    select w.kind, w.wait_id, w.step_id, coalesce(w.prompt, '') as prompt, coalesce(w.fields, '[]') as fields,
      to_json(w.approvers) as approvers, w.approvals_needed, w.level, ${shownVotes(sql)} as votes,
      extract(epoch from w.opened_at)::float8 * 1000 as opened_at_ms,
      extract(epoch from w.deadline_at)::float8 * 1000 as deadline_at_ms
    from waits w join runs r using (run_id)
    where w.run_id = ${run} and w.kind in ('human', 'timer', 'budget') and w.answered_at is null and r.ended_at is null
      and (${questionId}::text is null or w.wait_id = ${questionId}) and (${stepId}::text is null or w.step_id = ${stepId})
    order by array_position(array['human', 'timer', 'budget'], w.kind), w.opened_at, w.wait_id limit 100`;
  return rows.map((row) => OpenWait.parse(row));
}

/** The votes of a wait `w` without the answers, which may be long. */
function shownVotes(sql: Sql) {
  return sql`(
        select coalesce(jsonb_agg(vote - 'answer' - 'key_id' order by n), '[]')::text
        from jsonb_array_elements(w.votes) with ordinality as each(vote, n))`;
}

/** Whether an open wait is a question. */
export function isQuestion(wait: OpenWait): wait is Question {
  return wait.kind === "human";
}
