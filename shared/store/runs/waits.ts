import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { Vote } from "../../contracts/approval.ts";
import { FormField } from "../../contracts/definition/human.ts";
import { RunId } from "../../contracts/ids.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** What a wait waits for. `turn` is reserved. */
export const WaitKind = z.enum(["human", "timer", "child", "turn", "budget"]);

/** A wait that a park opens, or a question that it gives to a further group. Its id is chosen by the run, and is the same after a crash. */
export const NewWait = z.object({
  wait_id: z.string(),
  /** The step that waits. */
  step_id: z.string(),
  kind: WaitKind,
  /** The text of a question, and the JSON text of the fields of its answer. */
  prompt: z.string().nullable(),
  fields: z.string().nullable(),
  /** Time for an answer, from the commit on; null: as long as the run may take. */
  deadline_ms: z.number().nullable(),
  /** The run whose end is the answer. */
  child_run_id: RunId.nullable(),
  /** Of a question: the only persons who may answer. Absent: anyone may. */
  approvers: z.array(z.string()).exactOptional(),
  /** How many of them must approve. Absent: the first answer counts. */
  approvals_needed: z.number().int().exactOptional(),
  /** How often the question has gone to a further group. An open wait with a lower level gets this level and its approvers. */
  level: z.number().int().exactOptional(),
});
export type NewWait = z.infer<typeof NewWait>;

/**
 * The part of a flush that inserts the waits of its entries: each together with its entry, or not at all. A wait that
 * exists stays unchanged, because an earlier park has opened it, or its answer came before this park. The exception is an open
 * question that goes to a further group. A wait for a child that ends in this very flush is left to the end, which inserts it
 * with its answer: one statement cannot write a row twice.
 * @param hasEnds some of the entries end their run
 */
export function insertWaits(
  sql: Sql,
  entries: readonly { run_id: RunId; waits: readonly NewWait[] }[],
  hasEnds: boolean,
) {
  const waits = entries.flatMap((entry) => entry.waits.map((wait) => ({ run_id: entry.run_id, ...wait })));
  if (waits.length === 0) return sql``;
  return sql`, inserted_waits as (
      insert into waits (run_id, wait_id, step_id, kind, prompt, fields, deadline_at, child_run_id,
        approvers, approvals_needed, level)
      select run_id, w.wait_id, w.step_id, w.kind, w.prompt, w.fields, now() + w.deadline_ms * interval '1 millisecond',
        w.child_run_id,
        case when w.approvers is not null then array(select jsonb_array_elements_text(w.approvers::jsonb)) end,
        w.approvals_needed, coalesce(w.level, 0)
      from moved m join unnest(
        ${pgArray(waits.map((w) => w.run_id))}::text[], ${pgArray(waits.map((w) => w.wait_id))}::text[],
        ${pgArray(waits.map((w) => w.step_id))}::text[], ${pgArray(waits.map((w) => w.kind))}::text[],
        ${pgArray(waits.map((w) => promptText(w.prompt)))}::text[], ${pgArray(waits.map((w) => w.fields))}::text[],
        ${pgArray(waits.map((w) => w.deadline_ms))}::float8[], ${pgArray(waits.map((w) => w.child_run_id))}::text[],
        ${pgArray(waits.map((w) => (w.approvers === undefined ? null : JSON.stringify(w.approvers))))}::text[],
        ${pgArray(waits.map((w) => w.approvals_needed ?? null))}::int[], ${pgArray(waits.map((w) => w.level ?? null))}::int[]
      ) as w(run_id, wait_id, step_id, kind, prompt, fields, deadline_ms, child_run_id, approvers, approvals_needed, level)
        using (run_id)
      where ${hasEnds ? isNotAnswered(sql) : sql`true`}
      on conflict (run_id, wait_id) do update set level = excluded.level, approvers = excluded.approvers
        where waits.level < excluded.level and waits.answered_at is null
    )`;
}

function isNotAnswered(sql: Sql) {
  return sql`not exists (select from family f join ended d on d.run_id = f.run_id
        where f.relative = m.run_id and f.wait_id = w.wait_id)`;
}

/** A prompt as it is stored: JSON text, because a column of text can hold neither U+0000 nor half of a surrogate pair. */
function promptText(prompt: string | null): string | null {
  return prompt === null ? null : JSON.stringify(prompt);
}

/** The prompt that `promptText` has written. A question that was opened by an earlier version has the prompt itself. */
export function readPrompt(stored: string): string {
  try {
    return z.string().parse(JSON.parse(stored));
  } catch {
    return stored;
  }
}

/** The fields of a question, from their column. */
export const FieldsText = jsonText(z.array(FormField));

/** The votes of a question, from their column as text. */
export const VotesText = jsonText(z.array(Vote));

/**
 * `answered_by` of a wait that was closed without an answer: its deadline was read as passed, a client retried the run, or its
 * branch ended because another part of it failed. The ids of keys begin with `key_`, so they are never one of these.
 */
export const CLOSED_BY = { deadline: "deadline", retry: "retry", branch: "branch" } as const;

/** A wait as its run reads it. Times in milliseconds. */
export const Wait = z.object({
  wait_id: z.string(),
  kind: WaitKind,
  child_run_id: RunId.nullable(),
  /** `expired`: it was closed before an answer came, and can no longer be answered. */
  state: z.enum(["open", "answered", "expired"]),
  /** Time to its deadline; null when it has none. */
  due_in_ms: z.number().nullable(),
  /** Time since it was opened. */
  open_for_ms: z.number(),
  /** JSON text; for a child an EndRecord. */
  answer: z.string().nullable(),
  /** The id of the key with which the answer came, or of the run whose end is the answer. */
  answered_by: z.string().nullable(),
  /**
   * Of a question: the person who answered, as the client names them. An edge of an earlier version sends neither it nor the
   * fields below.
   */
  person: z.string().nullable().exactOptional(),
  votes: z.array(Vote).exactOptional(),
  /** Of a question: how often it has gone to a further group, and its prompt. */
  level: z.number().int().exactOptional(),
  prompt: z.string().exactOptional(),
  /** What the child has used so far. An edge of an earlier version does not send it. */
  child_usage: z
    .object({
      input_tokens: z.number(),
      output_tokens: z.number(),
      cost_micro_usd: z.number(),
      estimated: z.boolean(),
    })
    .nullish(),
});
export type Wait = z.infer<typeof Wait>;

/**
 * Reads waits of a run by their ids, ordered by id, for the worker that acts on them. Waits whose deadline has passed
 * are closed first: of a deadline and an answer at the same moment one wins.
 *
 * A worker that decides by them to park has read the run's `signals` before. So an answer that comes after this read
 * refuses the park.
 */
export async function readWaits(sql: Sql, run: RunId, waitIds: readonly string[]): Promise<Wait[]> {
  const requested = sql`run_id = ${run} and wait_id = any(${pgArray(waitIds)}::text[])`;
  await sql`
    update waits set answered_at = now(), answered_by = ${CLOSED_BY.deadline}
    where ${requested} and answered_at is null and deadline_at <= now()`;
  const rows = await sql`
    select wait_id, kind, child_run_id, answer, answered_by, person, votes::text as votes, level,
      coalesce(prompt, '') as prompt,
      case when answered_at is null then 'open'
        when answered_by = any(${pgArray(Object.values(CLOSED_BY))}::text[]) then 'expired'
        else 'answered' end as state,
      extract(epoch from deadline_at - now())::float8 * 1000 as due_in_ms,
      extract(epoch from now() - opened_at)::float8 * 1000 as open_for_ms,
      case when child_run_id is not null then (
        select json_build_object('input_tokens', coalesce(sum(u.input_tokens), 0),
          'output_tokens', coalesce(sum(u.output_tokens), 0), 'cost_micro_usd', coalesce(sum(u.cost_micro_usd), 0),
          'estimated', coalesce(bool_or(u.estimated), false))
        from usage u where u.run_id = child_run_id
      ) end as child_usage
    from waits where ${requested} order by wait_id`;
  return rows.map(({ votes, prompt, ...row }) =>
    Wait.parse({ ...row, votes: VotesText.parse(votes), prompt: readPrompt(prompt) }),
  );
}
