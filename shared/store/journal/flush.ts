import type { RunId } from "../../contracts/ids.ts";
import { insertWaits } from "../runs/waits.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import { insertDeliveries } from "../webhooks/insert-deliveries.ts";
import { chargeUsage, costOf, tokensOf, usageRows } from "./charge-usage.ts";
import { columnsOf } from "./entry-columns.ts";
import type { EntryColumns } from "./entry-columns.ts";
import { insertDeadLetters } from "./insert-dead-letters.ts";
import { moveRuns } from "./move-runs.ts";
import type { NewEntry } from "./new-entry.ts";

/**
 * An entry that was committed. `event_seq`: the number of its last event. `signals`, `cancel`: what the run has received
 * from outside. `webhook`: a delivery is due now.
 */
export type Committed = {
  run_id: RunId;
  event_seq: number;
  signals: number;
  cancel: boolean;
  webhook: boolean;
};

/**
 * Commits entries, at most one a run, all in one statement. An entry's result, its events, its charges and the change
 * of its run are committed together or not at all; so are the waits that a park opens, the effect of an end on the
 * run's relatives, and the webhook deliveries of both.
 *
 * An entry whose fence does not hold is missing in the result; that is not an error. `event_seq` in the fence makes it
 * harmless to repeat a flush: the second time nothing matches.
 *
 * The fence does not name `status = 'running'`: by the table's constraint only a running run has an owner. With that
 * condition the planner may read all running runs instead of these few by their key (4 ms instead of 2 per 100).
 */
export async function flush(sql: Sql, newEntries: readonly NewEntry[]): Promise<Committed[]> {
  // Every statement that locks many runs locks them in the order of their ids: see `lockFamily`.
  const entries = newEntries.toSorted((a, b) => (a.run_id < b.run_id ? -1 : 1)).map(columnsOf);
  const column = (read: (entry: EntryColumns) => string | number | null) => pgArray(entries.map(read));
  const hasEnds = entries.some((entry) => entry.kind === "end");
  const delivers = hasEnds || entries.some(asksHuman);
  return sql<Committed[]>`
    with e as (
      select *, coalesce(status in ('completed', 'failed', 'cancelled'), false) as ends from unnest(
        ${column((e) => e.run_id)}::text[],
        ${column((e) => e.attempt)}::int[],
        ${column((e) => e.owner)}::text[],
        ${column((e) => e.known_seq)}::int[],
        ${column((e) => e.kind)}::text[],
        ${column((e) => e.step_path)}::text[],
        ${column((e) => e.visit)}::int[],
        string_to_array(${jsonTexts(entries.map((e) => e.output ?? ""))}, chr(30)),
        string_to_array(${jsonTexts(entries.map((e) => e.events))}, chr(30)),
        ${column((e) => e.events_n)}::int[],
        ${column((e) => e.deadline_ms)}::float8[],
        ${column((e) => e.current_step)}::text[],
        ${column((e) => e.steps)}::int[],
        ${column(tokensOf)}::bigint[],
        ${column(costOf)}::bigint[],
        ${column((e) => e.status)}::text[],
        ${column((e) => e.wake_ms)}::float8[],
        ${column((e) => e.signals)}::int[],
        ${column((e) => e.error)}::text[]
      ) as e(run_id, attempt, owner, known_seq, kind, step_path, visit, output, events, events_n, deadline_ms,
        current_step, steps, tokens, cost, status, wake_ms, signals, error)
      -- Without the limit (see boundedRows in sql.ts) the planner reads runs from end to end while the table is small.
      limit ${entries.length}
    )${usageRows(sql, entries)}, ${moveRuns(sql, hasEnds)}, written as (
      insert into journal (run_id, seq, events_n, attempt, kind, step_path, visit, output, events)
      select run_id, event_seq, events_n, attempt, kind, step_path, visit, nullif(output, ''), events from moved
    )${chargeUsage(sql, entries)}${insertDeadLetters(sql, entries)}${insertWaits(sql, entries)}${delivers ? deliveriesOf(sql, entries) : sql``}
    select run_id, event_seq, signals, cancel,
      ${delivers ? sql`run_id in (select run_id from deliveries)` : sql`false`} as webhook
    from moved`;
}

/** Whether the entry parks the run until a human has answered. */
function asksHuman({ kind, waits }: EntryColumns): boolean {
  return kind === "park" && waits.some((wait) => wait.kind === "human");
}

function deliveriesOf(sql: Sql, entries: readonly EntryColumns[]) {
  const asking = entries.filter(asksHuman).map(({ run_id }) => run_id);
  return insertDeliveries(sql, sql`moved`, asking);
}

/** Many JSON texts as one, without escaping: JSON writes U+001E as an escape, so it can separate them. */
function jsonTexts(texts: readonly string[]): string {
  return texts.join("\u001e");
}
