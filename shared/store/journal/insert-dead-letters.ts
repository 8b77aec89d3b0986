import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import type { EntryColumns } from "./entry-columns.ts";

/** The CTE that writes one dead letter for each end in failure: it exists if and only if the run has failed. */
export function insertDeadLetters(sql: Sql, entries: readonly EntryColumns[]) {
  const letters = entries.flatMap(({ run_id, dead_letter }) =>
    dead_letter ? [{ run_id, ...dead_letter }] : [],
  );
  if (letters.length === 0) return sql``;
  return sql`, inserted_dead_letters as (
      insert into dead_letters (run_id, seq, tenant_id, orchestration_id, code, message, stack, step_id, tries, attempt,
        first_failed_at)
      select run_id, m.event_seq, m.tenant_id, m.orchestration_id, d.code, d.message, d.stack, d.step_id, d.tries,
        m.attempt, coalesce(d.first_failed_at, now())
      from moved m join unnest(
        ${pgArray(letters.map((d) => d.run_id))}::text[], ${pgArray(letters.map((d) => d.code))}::text[],
        ${pgArray(letters.map((d) => d.message))}::text[], ${pgArray(letters.map((d) => d.stack))}::text[],
        ${pgArray(letters.map((d) => d.step_id))}::text[], ${pgArray(letters.map((d) => d.tries))}::int[],
        ${pgArray(letters.map((d) => d.first_failed_at))}::timestamptz[]
      ) as d(run_id, code, message, stack, step_id, tries, first_failed_at) using (run_id)
    )`;
}
