import { z } from "zod";
import { FormField } from "../../contracts/definition/human.ts";
import type { RunId, TenantId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";
import { SignalledRun, signalRun } from "./family.ts";
import { readPrompt } from "./waits.ts";

/** What became of an answer. */
export type AnswerOutcome = { is: "answered"; run: SignalledRun } | AnswerRefusal;

/**
 * Why a wait takes no answer. `taken`: it has the answer `answer` already, or (null) it was closed without one. `ended`: the run has ended.
 * `unknown`: the tenant has no such wait.
 */
export type AnswerRefusal =
  | { is: "taken"; by: string | null; answer: string | null }
  | { is: "ended" | "unknown" };

export type NewAnswer = {
  /** Null: any tenant, for a platform key. */
  tenant: TenantId | null;
  run: RunId;
  waitId: string;
  /** JSON text. */
  answer: string;
  /** The source of the answer, for people: the id of a key. */
  by: string;
};

/**
 * Answers a wait of a tenant's run and makes the run due: one statement, so that of several answers one wins.
 * docs/protocol.md 5.6. A wait whose deadline has passed takes an answer until a worker has read it as expired.
 */
export async function answerWait(
  sql: Sql,
  { tenant, run, waitId, answer, by }: NewAnswer,
): Promise<AnswerOutcome> {
  // Twice: a park may open the wait after the statement has not found it and before the refusal is read.
  for (let tries = 0; tries < 2; tries++) {
    const [row] = await sql`
      with locked as (
        select run_id from runs
        where run_id = ${run} and (${tenant}::text is null or tenant_id = ${tenant}) and ended_at is null
        for update
      ), answered as (
        update waits w set answer = ${answer}, answered_at = now(), answered_by = ${by}
        from locked l
        where w.run_id = l.run_id and w.wait_id = ${waitId} and w.answered_at is null
        returning w.run_id
      )
      update runs r set ${signalRun(sql)} from answered a where r.run_id = a.run_id
      returning r.run_id, r.tenant_id, r.status, r.owner, r.lane, r.priority,
        floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms`;
    if (row) return { is: "answered", run: SignalledRun.parse(row) };
    const refusal = await readAnswerRefusal(sql, tenant, run, waitId);
    if (refusal) return refusal;
  }
  return { is: "unknown" };
}

/**
 * Why a wait of a tenant's run takes no answer; null: it takes one now.
 * @param tenant null: any tenant, for a platform key
 */
export async function readAnswerRefusal(
  sql: Sql,
  tenant: TenantId | null,
  run: RunId,
  waitId: string,
): Promise<AnswerRefusal | null> {
  const [wait] = await sql<{ ended: boolean; taken: boolean; by: string | null; answer: string | null }[]>`
    select r.ended_at is not null as ended, w.answered_at is not null as taken, w.answered_by as by, w.answer
    from waits w join runs r using (run_id)
    where w.run_id = ${run} and w.wait_id = ${waitId} and (${tenant}::text is null or r.tenant_id = ${tenant})`;
  if (!wait) return { is: "unknown" };
  if (wait.taken) return { is: "taken", by: wait.by, answer: wait.answer };
  return wait.ended ? { is: "ended" } : null;
}

/** A question as the API shows it. Times in milliseconds since 1970. */
export const Question = z.object({
  wait_id: z.string(),
  step_id: z.string(),
  prompt: z.string().transform(readPrompt),
  fields: z
    .string()
    .transform((text) => JSON.parse(text))
    .pipe(z.array(FormField)),
  opened_at_ms: z.number(),
  deadline_at_ms: z.number().nullable(),
});
export type Question = z.infer<typeof Question>;

/**
 * The open questions of a run, the oldest first, 100 at most. It does not check the tenant: the caller has read the run
 * for its principal before.
 */
export async function listOpenQuestions(sql: Sql, run: RunId): Promise<Question[]> {
  const rows = await sql`
    select w.wait_id, w.step_id, coalesce(w.prompt, '') as prompt, coalesce(w.fields, '[]') as fields,
      extract(epoch from w.opened_at)::float8 * 1000 as opened_at_ms,
      extract(epoch from w.deadline_at)::float8 * 1000 as deadline_at_ms
    from waits w join runs r using (run_id)
    where w.run_id = ${run} and w.kind = 'human' and w.answered_at is null and r.ended_at is null
    order by w.opened_at, w.wait_id limit 100`;
  return rows.map((row) => Question.parse(row));
}
