import { z } from "zod";
import { utf8Length } from "../../text/bytes.ts";
import { RunId } from "../../contracts/ids.ts";
import { insertReplies } from "../chat/messages.ts";
import { insertArtifacts } from "../files/insert-artifacts.ts";
import { insertDeadLetters } from "../runs/dead-letters.ts";
import {
  SignalledRun,
  afterLocks,
  cancelRequestedAt,
  endedRelatives,
  lockFamily,
  notifiedBy,
  notifyFamily,
} from "../runs/family.ts";
import { insertWaits } from "../runs/waits.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import { deliverySnapshot, insertDeliveries } from "../webhooks/insert-deliveries.ts";
import { chargeUsage, usageRows } from "./charge-usage.ts";
import { columnsOf } from "./entry-columns.ts";
import type { EntryColumns } from "./entry-columns.ts";
import type { EarlierResult, NewEntry } from "./new-entry.ts";

/**
 * An entry that was committed. `event_seq`: the number of its last event. `signals`, `cancel`: what the run has received
 * from outside. `webhook`: a delivery is due now. `notified`: the relatives that its end has made due, or that run now.
 * `frees_key`: the run has ended and had a singleton key.
 */
export const Committed = z.object({
  run_id: RunId,
  event_seq: z.number(),
  signals: z.number(),
  cancel: z.boolean(),
  // Edges of earlier versions do not send all of these fields.
  webhook: z.boolean().default(false),
  notified: z.array(SignalledRun).nullish(),
  frees_key: z.boolean().default(false),
});
export type Committed = z.infer<typeof Committed>;

/**
 * Commits entries, at most one of each run with the earlier results of that run, all in one statement. An entry's result,
 * its events, its charges and the change of its run are committed together or not at all; so are its earlier results, the
 * rows of files, the waits that a park opens, the effect of an end on the run's relatives, and the webhook deliveries of both.
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
  const earlier = entries.flatMap(earlierOf);
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
        ${column((e) => sum(e.earlier, (result) => result.events_n))}::int[],
        ${column((e) => sum(e.earlier, bytesOf))}::int[],
        ${column((e) => e.deadline_ms)}::float8[],
        ${column((e) => e.current_step)}::text[],
        ${column((e) => e.steps)}::int[],
        ${column(tokensOf)}::bigint[],
        ${column(costOf)}::bigint[],
        ${column((e) => e.status)}::text[],
        ${column((e) => e.wake_ms)}::float8[],
        ${column((e) => e.signals)}::int[],
        ${column((e) => e.error)}::text[]
      ) as e(run_id, attempt, owner, known_seq, kind, step_path, visit, output, events, events_n,
        earlier_n, earlier_bytes, deadline_ms, current_step, steps, tokens, cost, status, wake_ms, signals, error)
      -- Without the limit (see boundedRows in sql.ts) the planner reads runs from end to end while the table is small.
      limit ${entries.length}
    )${usageRows(sql, entries)}, ${moveRuns(sql, hasEnds)}, written as (
      insert into journal (run_id, seq, events_n, attempt, kind, step_path, visit, output, events)
      ${earlier.length > 0 ? sql`${earlierRows(sql, earlier)} union all` : sql``}
      select run_id, event_seq, events_n, attempt, kind, step_path, visit, nullif(output, ''), events from moved
    )${chargeUsage(sql, entries)}${insertArtifacts(sql, entries)}${insertDeadLetters(sql, entries)}${insertReplies(sql, sql`moved`, repliesOf(entries))}${insertWaits(sql, entries, hasEnds)}${delivers ? deliveriesOf(sql, entries) : sql``}
    select run_id, event_seq, signals, cancel, frees_key,
      ${delivers ? sql`run_id in (select run_id from deliveries)` : sql`false`} as webhook
      ${hasEnds ? sql`, ${notifiedBy(sql)} as notified` : sql``}
    from moved m`;
}

/** Many JSON texts or stored lines as one, without escaping: JSON writes U+001E as an escape, and no coded line has it, so it can separate them. */
function jsonTexts(texts: readonly string[]): string {
  return texts.join("\u001e");
}

/** An earlier result. `upto`: the number of events of its run from the fence up to its own last event. */
type EarlierRow = EarlierResult & { run_id: RunId; upto: number };

function earlierOf({ run_id, earlier }: EntryColumns): EarlierRow[] {
  let upto = 0;
  return earlier.map((result) => {
    upto += result.events_n;
    return { ...result, run_id, upto };
  });
}

/** The journal's rows of earlier results. An entry's number is that of its last event, so it follows from the run's new `event_seq`. */
function earlierRows(sql: Sql, rows: readonly EarlierRow[]) {
  return sql`select run_id, m.event_seq - m.events_n - m.earlier_n + w.upto, w.events_n, m.attempt, 'step', w.step_path, w.visit,
        w.output, w.events
      from moved m join unnest(
        ${pgArray(rows.map((w) => w.run_id))}::text[], ${pgArray(rows.map((w) => w.upto))}::int[],
        ${pgArray(rows.map((w) => w.events_n))}::int[], ${pgArray(rows.map((w) => w.step_path))}::text[],
        ${pgArray(rows.map((w) => w.visit))}::int[],
        string_to_array(${jsonTexts(rows.map((w) => w.output))}, chr(30)),
        string_to_array(${jsonTexts(rows.map((w) => w.events))}, chr(30))
      ) as w(run_id, upto, events_n, step_path, visit, output, events) using (run_id)`;
}

const bytesOf = ({ output, events }: EarlierResult): number => utf8Length(output) + utf8Length(events);

function sum<Item>(items: readonly Item[], read: (item: Item) => number): number {
  return items.reduce((total, item) => total + read(item), 0);
}

/**
 * The CTE `moved` of a flush, with the CTEs that it needs: the runs of the entries `e` whose fences hold, changed as their
 * entries say. `hasEnds`: some of the entries end their run.
 */
function moveRuns(sql: Sql, hasEnds: boolean) {
  return hasEnds ? moveFamilies(sql) : sql`moved as (${move(sql, "all")})`;
}

/**
 * Ends first, all other runs after them. A relative of an ended run that has an entry in this flush is therefore
 * changed once: by the end, or by its own entry. Cost when no run has relatives: 0.4 ms more than `move` alone, and
 * 3 us for each end.
 */
function moveFamilies(sql: Sql) {
  return sql`ending as (
      select run_id from e where ends
    ), ${lockFamily(sql, sql`select run_id from e where exists (select from family)`)}, ended as (${move(sql, "ends")}
    ), relatives as (${endedRelatives(sql)}
    ), others as (${move(sql, "others")}
    ), moved as (
      select * from ended union all select * from others
    ), ${notifyFamily(sql, sql`moved`)}`;
}

/**
 * Changes the runs of all entries, of those that end their run, or (after the ends) of the others.
 *
 * An entry of the last part whose relative has just ended raises the run's signals in the same update. A park of such
 * a run has missed that signal, so it is left out.
 */
function move(sql: Sql, part: "all" | "ends" | "others") {
  const isLast = part === "others";
  const signals = isLast
    ? sql`signals = r.signals + (k.run_id is not null)::int, cancel_requested_at = ${cancelRequestedAt(sql)},`
    : sql``;
  const from = isLast ? sql`e left join relatives k on k.run_id = e.run_id` : sql`e`;
  const only = {
    all: () => sql``,
    ends: () => sql`and e.ends and ${afterLocks(sql)}`,
    others: () => sql`and not e.ends and (e.signals is null or k.run_id is null)`,
  }[part]();
  return sql`
      update runs r set ${signals}
        event_seq = r.event_seq + e.earlier_n + e.events_n,
        journal_bytes = r.journal_bytes + e.earlier_bytes + octet_length(e.events) + coalesce(octet_length(e.output), 0),
        deadline_at = now() + e.deadline_ms * interval '1 millisecond',
        current_step_id = e.current_step,
        step_count = r.step_count + e.steps,
        tokens = r.tokens + e.tokens,
        cost_micro_usd = r.cost_micro_usd + e.cost,
        crash_count = case when e.kind in ('step', 'turn') or e.earlier_n > 0 then 0 else r.crash_count end,
        status = coalesce(e.status, r.status),
        owner = case when e.status is null then r.owner end,
        wake_at = case
          when e.status is null then r.wake_at
          when e.status in ('queued', 'paused') then now() + e.wake_ms * interval '1 millisecond'
        end,
        paused_at = case when e.status = 'paused' then now() end,
        ended_at = case when e.ends then now() end,
        error = e.error
      from ${from}
      where r.run_id = e.run_id and r.attempt = e.attempt and r.owner = e.owner and r.event_seq = e.known_seq
        and (e.signals is null or r.signals = e.signals) ${only}
      returning r.run_id, r.event_seq, r.signals, r.cancel_requested_at is not null as cancel, r.attempt,
        r.ended_at is not null and r.singleton_key is not null as frees_key, e.events_n, e.earlier_n, e.kind, e.step_path, e.visit, e.output, e.events, r.session_id, ${deliverySnapshot(sql)}`;
}

function tokensOf({ usage }: EntryColumns): number {
  return sum(usage, (call) => call.input_tokens + call.output_tokens);
}

function costOf({ usage }: EntryColumns): number {
  return sum(usage, (call) => call.cost_micro_usd);
}

function repliesOf(entries: readonly EntryColumns[]) {
  return entries.flatMap(({ run_id, reply }) => (reply === null ? [] : [{ run_id, ...reply }]));
}

/** Whether the entry parks the run until a human has answered. */
function asksHuman({ kind, waits }: EntryColumns): boolean {
  return kind === "park" && waits.some((wait) => wait.kind === "human");
}

function deliveriesOf(sql: Sql, entries: readonly EntryColumns[]) {
  const asking = entries.filter(asksHuman).map(({ run_id }) => run_id);
  return insertDeliveries(sql, sql`moved`, asking);
}
