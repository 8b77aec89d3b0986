import { z } from "zod";
import { FormField } from "../../contracts/definition/human.ts";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { hearing } from "./family.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

export const WaitKind = z.enum(["human", "timer", "child", "turn", "budget"]);

/** Something that a run gives its slot back for. Its name is the run's own: stable over crashes. */
export const NewWait = z.object({
  wait_id: z.string(),
  /** The step that waits. */
  step_id: z.string(),
  kind: WaitKind,
  /** What a human is asked, and JSON text of the fields of his answer. */
  prompt: z.string().nullable(),
  fields: z.string().nullable(),
  /** How long an answer may take, from the commit on; null: as long as the run may. */
  deadline_ms: z.number().nullable(),
  /** Whose end is the answer. */
  child_run_id: RunId.nullable(),
});
export type NewWait = z.infer<typeof NewWait>;

/**
 * The part of a flush that opens the waits of its entries: together with the entry or not at all. A wait that exists
 * stays as it is: open since it was opened first, or answered by whoever was faster than the park.
 */
export function openWaits(sql: Sql, entries: readonly { run_id: RunId; waits: readonly NewWait[] }[]) {
  const waits = entries.flatMap((entry) => entry.waits.map((wait) => ({ run_id: entry.run_id, ...wait })));
  if (waits.length === 0) return sql``;
  return sql`, opened as (
      insert into waits (run_id, wait_id, step_id, kind, prompt, fields, deadline_at, child_run_id)
      select run_id, w.wait_id, w.step_id, w.kind, w.prompt, w.fields, now() + w.deadline_ms * interval '1 millisecond',
        w.child_run_id
      from moved m join unnest(
        ${pgArray(waits.map((w) => w.run_id))}::text[], ${pgArray(waits.map((w) => w.wait_id))}::text[],
        ${pgArray(waits.map((w) => w.step_id))}::text[], ${pgArray(waits.map((w) => w.kind))}::text[],
        ${pgArray(waits.map((w) => w.prompt))}::text[], ${pgArray(waits.map((w) => w.fields))}::text[],
        ${pgArray(waits.map((w) => w.deadline_ms))}::float8[], ${pgArray(waits.map((w) => w.child_run_id))}::text[]
      ) as w(run_id, wait_id, step_id, kind, prompt, fields, deadline_ms, child_run_id) using (run_id)
      on conflict (run_id, wait_id) do nothing
    )`;
}

/** A run that was given an answer, as the queue has to know it; while it runs, its owner is to be told. */
const Answered = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  status: z.enum(["queued", "running"]),
  owner: z.string().nullable(),
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
});

/** What became of an answer. `taken`: somebody's was first, with this text. */
export type AnswerOutcome = { is: "answered"; run: z.infer<typeof Answered> } | Unanswered;
export type Unanswered =
  | { is: "taken"; by: string | null; answer: string | null }
  | { is: "ended" | "unknown" };

/**
 * Answers a wait of a tenant's run (null: of any), and makes the run due: one statement, so of many answers one wins.
 * docs/protocol.md 5.6. A wait that is overdue takes an answer as long as nobody has closed it.
 * @param answer JSON text
 * @param by whose answer it is, for people
 */
export async function answerWait(
  sql: Sql,
  tenant: TenantId | null,
  run: RunId,
  waitId: string,
  answer: string,
  by: string,
): Promise<AnswerOutcome> {
  // Twice: a wait may be opened between the statement and the look at why it found none.
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
      update runs r set ${hearing(sql)} from answered a where r.run_id = a.run_id
      returning r.run_id, r.tenant_id, r.status, r.owner, r.lane, r.priority,
        floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms`;
    if (row) return { is: "answered", run: Answered.parse(row) };
    const why = await whyNotOpen(sql, tenant, run, waitId);
    if (why) return why;
  }
  return { is: "unknown" };
}

/** Why a wait of a tenant's run (null: of any) cannot be answered; null: it can by now. */
export async function whyNotOpen(
  sql: Sql,
  tenant: TenantId | null,
  run: RunId,
  waitId: string,
): Promise<Unanswered | null> {
  const [wait] = await sql<{ ended: boolean; taken: boolean; by: string | null; answer: string | null }[]>`
    select r.ended_at is not null as ended, w.answered_at is not null as taken, w.answered_by as by, w.answer
    from waits w join runs r using (run_id)
    where w.run_id = ${run} and w.wait_id = ${waitId} and (${tenant}::text is null or r.tenant_id = ${tenant})`;
  if (!wait) return { is: "unknown" };
  if (wait.taken) return { is: "taken", by: wait.by, answer: wait.answer };
  return wait.ended ? { is: "ended" } : null;
}

/** Who has closed a wait that nobody has answered: its time, or a client's retry of its run. Names of keys begin with `key_`. */
export const CLOSED_BY = { deadline: "deadline", retry: "retry" } as const;

/** A wait as its run finds it. Times in milliseconds. */
export const Wait = z.object({
  wait_id: z.string(),
  kind: WaitKind,
  child_run_id: RunId.nullable(),
  /** `expired`: nobody answered before it was closed, and nobody can any more. */
  state: z.enum(["open", "answered", "expired"]),
  /** To its deadline; null when it has none. */
  due_in_ms: z.number().nullable(),
  /** Since it was opened. */
  open_for_ms: z.number(),
  /** JSON text; of a child the EndRecord. */
  answer: z.string().nullable(),
  /** For people: a key, or the run whose end it is. */
  answered_by: z.string().nullable(),
});
export type Wait = z.infer<typeof Wait>;

/**
 * Waits of a run by their names, in that order, as its worker acts on them: what is overdue is closed first, and of that
 * and an answer at the same moment one wins.
 *
 * Whoever decides to park by them has read the run's `signals` before: an answer that comes after this look refuses
 * the park then.
 */
export async function readWaits(sql: Sql, run: RunId, waitIds: readonly string[]): Promise<Wait[]> {
  const named = sql`run_id = ${run} and wait_id = any(${pgArray(waitIds)}::text[])`;
  await sql`
    update waits set answered_at = now(), answered_by = ${CLOSED_BY.deadline}
    where ${named} and answered_at is null and deadline_at <= now()`;
  const rows = await sql`
    select wait_id, kind, child_run_id, answer, answered_by,
      case when answered_at is null then 'open'
        when answered_by in (${CLOSED_BY.deadline}, ${CLOSED_BY.retry}) then 'expired'
        else 'answered' end as state,
      extract(epoch from deadline_at - now())::float8 * 1000 as due_in_ms,
      extract(epoch from now() - opened_at)::float8 * 1000 as open_for_ms
    from waits where ${named} order by wait_id`;
  return rows.map((row) => Wait.parse(row));
}

/** A question to a person, as clients are told of it. Times in milliseconds since 1970. */
export const Question = z.object({
  wait_id: z.string(),
  step_id: z.string(),
  prompt: z.string(),
  fields: z
    .string()
    .transform((text) => JSON.parse(text))
    .pipe(z.array(FormField)),
  opened_at_ms: z.number(),
  deadline_at_ms: z.number().nullable(),
});
export type Question = z.infer<typeof Question>;

/** The questions to people that a run has open now, the oldest first. Ask for a run that is known to be the caller's. */
export async function openQuestions(sql: Sql, run: RunId): Promise<Question[]> {
  const rows = await sql`
    select w.wait_id, w.step_id, coalesce(w.prompt, '') as prompt, coalesce(w.fields, '[]') as fields,
      extract(epoch from w.opened_at)::float8 * 1000 as opened_at_ms,
      extract(epoch from w.deadline_at)::float8 * 1000 as deadline_at_ms
    from waits w join runs r using (run_id)
    where w.run_id = ${run} and w.kind = 'human' and w.answered_at is null and r.ended_at is null
    order by w.opened_at, w.wait_id limit 100`;
  return rows.map((row) => Question.parse(row));
}
