import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import type { DeadLetter } from "../journal/new-entry.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A dead letter as operators see it. Times in milliseconds since 1970. */
const DeadLetterRow = z.object({
  run_id: RunId,
  seq: z.number(),
  tenant_id: z.string(),
  orchestration_id: z.string(),
  code: z.string(),
  message: z.string(),
  stack: z.string().nullable(),
  step_id: z.string().nullable(),
  tries: z.number(),
  attempt: z.number(),
  first_failed_at_ms: z.number(),
  failed_at_ms: z.number(),
  resolved_at_ms: z.number().nullable(),
});
export type DeadLetterRow = z.infer<typeof DeadLetterRow>;

/** A dead letter with the input of its run (JSON text of RunInput), which is too large for a list. */
const WholeDeadLetter = DeadLetterRow.extend({ input: z.string() });
export type WholeDeadLetter = z.infer<typeof WholeDeadLetter>;

/**
 * The part of a flush that inserts one dead letter for each end in failure: it exists if and only if the run has failed. Its first
 * failure is never after its last: a worker's clock may be ahead of that of Postgres.
 */
export function insertDeadLetters(
  sql: Sql,
  entries: readonly { run_id: RunId; dead_letter: DeadLetter | null }[],
) {
  const letters = entries.flatMap(({ run_id, dead_letter }) =>
    dead_letter ? [{ run_id, ...dead_letter }] : [],
  );
  if (letters.length === 0) return sql``;
  return sql`, inserted_dead_letters as (
      insert into dead_letters (run_id, seq, tenant_id, orchestration_id, code, message, stack, step_id, tries, attempt,
        first_failed_at)
      select run_id, m.event_seq, m.tenant_id, m.orchestration_id, d.code, d.message, d.stack, d.step_id, d.tries,
        m.attempt, least(d.first_failed_at, now())
      from moved m join unnest(
        ${pgArray(letters.map((d) => d.run_id))}::text[], ${pgArray(letters.map((d) => d.code))}::text[],
        ${pgArray(letters.map((d) => d.message))}::text[], ${pgArray(letters.map((d) => d.stack))}::text[],
        ${pgArray(letters.map((d) => d.step_id))}::text[], ${pgArray(letters.map((d) => d.tries))}::int[],
        ${pgArray(letters.map((d) => d.first_failed_at))}::timestamptz[]
      ) as d(run_id, code, message, stack, step_id, tries, first_failed_at) using (run_id)
    )`;
}

const columns = (sql: Sql) => sql`
  d.run_id, d.seq, d.tenant_id, d.orchestration_id, d.code, d.message, d.stack, d.step_id, d.tries, d.attempt,
  extract(epoch from d.first_failed_at)::float8 * 1000 as first_failed_at_ms,
  extract(epoch from d.failed_at)::float8 * 1000 as failed_at_ms,
  extract(epoch from d.resolved_at)::float8 * 1000 as resolved_at_ms`;

/** Selects dead letters. Null: any. */
export type DeadLetterFilter = {
  tenant: TenantId | null;
  orchestration: string | null;
  code: string | null;
};

/**
 * A page of unresolved dead letters, the newest first.
 * @param before the last dead letter of the page before; null: the first page
 */
export async function listDeadLetters(
  sql: Sql,
  { tenant, orchestration, code }: DeadLetterFilter,
  before: { run_id: RunId; seq: number } | null,
  limit: number,
): Promise<DeadLetterRow[]> {
  const rows = await sql`
    select ${columns(sql)}
    from dead_letters d
    where d.resolved_at is null
      and (${tenant}::text is null or d.tenant_id = ${tenant})
      and (${orchestration}::text is null or d.orchestration_id = ${orchestration})
      and (${code}::text is null or d.code = ${code})
      and (${before?.run_id ?? null}::text is null or (d.failed_at, d.run_id) < (
        select b.failed_at, b.run_id from dead_letters b
        where b.run_id = ${before?.run_id ?? null} and b.seq = ${before?.seq ?? null}))
    order by d.failed_at desc, d.run_id desc limit ${limit}`;
  return rows.map((row) => DeadLetterRow.parse(row));
}

/** The number of unresolved dead letters, 100,000 at most. */
export async function countDeadLetters(
  sql: Sql,
  { tenant, orchestration, code }: DeadLetterFilter,
): Promise<number> {
  const [row] = await sql<{ n: number }[]>`
    select count(*)::int as n from (
      select from dead_letters
      where resolved_at is null
        and (${tenant}::text is null or tenant_id = ${tenant})
        and (${orchestration}::text is null or orchestration_id = ${orchestration})
        and (${code}::text is null or code = ${code})
      limit 100000
    ) d`;
  return row?.n ?? 0;
}

/**
 * One dead letter, resolved or not; null when that tenant has none.
 * @param tenant null: any tenant, for a platform key
 */
export async function readDeadLetter(
  sql: Sql,
  tenant: TenantId | null,
  run: RunId,
  seq: number,
): Promise<WholeDeadLetter | null> {
  const [row] = await sql`
    select ${columns(sql)}, r.input
    from dead_letters d join runs r using (run_id)
    where d.run_id = ${run} and d.seq = ${seq} and (${tenant}::text is null or d.tenant_id = ${tenant})`;
  return row ? WholeDeadLetter.parse(row) : null;
}

/**
 * Resolves a dead letter without a retry of its run.
 * @returns false when there is no unresolved one
 */
export async function dismissDeadLetter(
  sql: Sql,
  tenant: TenantId | null,
  run: RunId,
  seq: number,
): Promise<boolean> {
  const rows = await sql`
    update dead_letters set resolved_at = now()
    where run_id = ${run} and seq = ${seq} and resolved_at is null
      and (${tenant}::text is null or tenant_id = ${tenant})
    returning 1`;
  return rows.length > 0;
}
