import { z } from "zod";
import type { Decision, Vote } from "../../contracts/approval.ts";
import type { RunId, TenantId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";
import { SignalledRun, signalRun } from "./family.ts";
import { FieldsText, VotesText } from "./waits.ts";

/** The answer that a wait has, with the fields of its form, and whether its run has ended. */
const StoredAnswer = z.object({
  ended: z.boolean(),
  taken: z.boolean(),
  by: z.string().nullable(),
  person: z.string().nullable(),
  answer: z.string().nullable(),
  votes: VotesText,
  fields: FieldsText,
});
type StoredAnswer = z.infer<typeof StoredAnswer>;

/** What became of an answer. `voted`: it is stored, and the question stays open for more approvals. */
export type AnswerOutcome = { is: "answered"; run: SignalledRun } | { is: "voted" } | AnswerRefusal;

/**
 * Why a wait takes no answer. `taken`: it has the answer `answer` of the key `by` already, or (null) it was closed without
 * one. `voted_before`: this person has answered already. `ended`: the run has ended. `unknown`: the tenant has no such wait.
 */
export type AnswerRefusal =
  | ({ is: "taken" } & Omit<StoredAnswer, "ended" | "taken">)
  | { is: "voted_before"; votes: Vote[] }
  | { is: "ended" | "unknown" };

/** An answer to a wait. */
export type NewAnswer = {
  /** Null: any tenant, for a platform key. */
  tenant: TenantId | null;
  run: RunId;
  waitId: string;
  /** JSON text. */
  answer: string;
  /** The id of the key with which the answer came. */
  by: string;
  /** The person that the client names; absent: none. */
  person?: string | null;
  /** The vote of that person, to a question that needs approvals. */
  decision?: Decision | null;
};

/**
 * Answers a wait of a tenant's run and makes the run due: one statement, so that of several answers one wins.
 * docs/protocol.md 5.6. A wait whose deadline has passed takes an answer until a worker has read it as expired.
 *
 * A question that needs approvals gets a vote instead, one of each person. The vote with which the approvals are reached, or
 * can no longer be reached, closes the question. Two votes change the same row one after the other, and the second
 * reads what the first has written; so exactly one closes it.
 */
export async function answerWait(sql: Sql, newAnswer: NewAnswer): Promise<AnswerOutcome> {
  const { tenant, run, waitId, answer, by, person = null, decision = null } = newAnswer;
  const closes = sql`(w.approvals_needed is null or 1 + (
          select count(*) from jsonb_array_elements(w.votes) v where v->>'decision' = ${decision}
        ) >= case ${decision}::text
          when 'approve' then w.approvals_needed else cardinality(w.approvers) - w.approvals_needed + 1 end)`;
  // Twice: a park may open the wait after the statement has not found it and before the refusal is read.
  for (let tries = 0; tries < 2; tries++) {
    const [row] = await sql`
      with locked as (
        select run_id from runs
        where run_id = ${run} and (${tenant}::text is null or tenant_id = ${tenant}) and ended_at is null
        for update
      ), answered as (
        update waits w set
          votes = case when w.approvals_needed is null then w.votes else w.votes || jsonb_build_object(
            'person', ${person}::text, 'decision', ${decision}::text, 'key_id', ${by}::text, 'answer', ${answer}::text,
            'at', to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) end,
          answer = case when w.approvals_needed is null then ${answer}
            when ${closes} then jsonb_build_object('decision', ${decision}::text)::text end,
          answered_at = case when ${closes} then now() end,
          answered_by = case when ${closes} then ${by} end,
          person = case when ${closes} then ${person} end
        from locked l
        where w.run_id = l.run_id and w.wait_id = ${waitId} and w.answered_at is null
          and (w.approvers is null or ${person}::text = any(w.approvers))
          and (w.approvals_needed is null or (${decision}::text is not null
            and not w.votes @> jsonb_build_array(jsonb_build_object('person', ${person}::text))))
        returning w.run_id, w.answered_at is not null as closed
      ), resumed as (
        update runs r set ${signalRun(sql)} from answered a where r.run_id = a.run_id and a.closed
        returning r.run_id, r.tenant_id, r.status, r.owner, r.lane, r.priority,
          floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms
      )
      select a.closed, r.* from answered a left join resumed r using (run_id)`;
    if (row) return row["closed"] ? { is: "answered", run: SignalledRun.parse(row) } : { is: "voted" };
    const refusal = await readAnswerRefusal(sql, newAnswer);
    if (refusal) return refusal;
  }
  return { is: "unknown" };
}

/** Why a wait of a tenant's run takes no answer of this person; null: it takes one now. */
export async function readAnswerRefusal(
  sql: Sql,
  { tenant, run, waitId, person }: Pick<NewAnswer, "tenant" | "run" | "waitId" | "person">,
): Promise<AnswerRefusal | null> {
  const [row] = await sql`
    select r.ended_at is not null as ended, w.answered_at is not null as taken, w.answered_by as by, w.person, w.answer,
      w.votes::text as votes, coalesce(w.fields, '[]') as fields
    from waits w join runs r using (run_id)
    where w.run_id = ${run} and w.wait_id = ${waitId} and (${tenant}::text is null or r.tenant_id = ${tenant})`;
  if (!row) return { is: "unknown" };
  const { ended, taken, ...stored } = StoredAnswer.parse(row);
  if (taken) return { is: "taken", ...stored };
  if (ended) return { is: "ended" };
  const { votes } = stored;
  return votes.some((vote) => vote.person === person) ? { is: "voted_before", votes } : null;
}
