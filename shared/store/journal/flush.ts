import { z } from "zod";
import { Incarnation, RunId } from "../../contracts/ids.ts";
import { EntryKind, Usage } from "../../contracts/journal-entry.ts";
import { TERMINAL } from "../../contracts/run.ts";
import { deliverySnapshot, insertDeliveries } from "../webhooks/insert-deliveries.ts";
import { cancelRequestedAt, afterLocks, lockFamily, endedRelatives, notifyFamily } from "../runs/family.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import { NewWait, insertWaits } from "../runs/waits.ts";

/** Why a run failed for good. `tries` of the step; the stack is for operators, clients never see it. */
export const DeadLetter = z.object({
  code: z.string(),
  message: z.string(),
  stack: z.string().nullable(),
  step_id: z.string().nullable(),
  tries: z.number().int(),
  /** When the step failed first, or null: with this very entry. */
  first_failed_at: z.string().nullable(),
});
export type DeadLetter = z.infer<typeof DeadLetter>;

/**
 * One entry on its way into a run's journal, with its fence: `attempt`, `owner` and `known_seq`, the number of the
 * last event that this worker knows of.
 */
export const NewEntry = z.object({
  run_id: RunId,
  attempt: z.number().int(),
  owner: Incarnation,
  known_seq: z.number().int(),
  kind: EntryKind,
  step_path: z.string().nullable(),
  visit: z.number().int().nullable(),
  /** JSON text: a Checkpoint, TurnCheckpoint, ParkRecord or EndRecord, as `kind` says. */
  output: z.string().nullable(),
  /** Event lines, one JSON a line, at least one. */
  events: z.string().min(2),
  events_n: z.number().int().positive(),
  /** How long, from the commit on, this worker may be silent about the run before it is taken for stuck. */
  deadline_ms: z.number().int(),
  current_step: z.string().nullable(),
  /** Committed results in this entry: 0 or 1. */
  steps: z.number().int(),
  usage: z.array(Usage),
  /** What the run becomes; null: it goes on running. */
  status: z.enum(["queued", "paused", "completed", "failed", "cancelled"]).nullable(),
  /** A park: the wake-up, and the signals that this worker has seen; more of them refuse the park. */
  wake_ms: z.number().int().nullable(),
  signals: z.number().int(),
  /** What a park waits for. It wakes at the latest when the first of them is overdue. */
  waits: z.array(NewWait).default([]),
  /** JSON text of RunError, when the run fails. */
  error: z.string().nullable(),
  /** What operators are told of a run that fails for good. */
  dead_letter: DeadLetter.nullable(),
});
export type NewEntry = z.infer<typeof NewEntry>;

/**
 * What became of an entry that was committed. `signals`, `cancel`: what came from outside meanwhile. `webhook`: there is
 * a delivery to be sent now.
 */
export type Committed = {
  run_id: RunId;
  event_seq: number;
  signals: number;
  cancel: boolean;
  webhook: boolean;
};

/**
 * Commits entries, at most one a run, all in one statement: the checkpoint, its events, its charges and the change
 * of the run are true together or not at all, and so are the waits that a park opens, what an end means for the
 * run's relatives, and what a webhook is to be told of either.
 *
 * The fence does not ask for `status = 'running'`: the table's constraint says that only what runs has an owner, and
 * asked for, it would tempt the planner to read all that runs instead of these few by their key (4 ms, not 2, per 100).
 *
 * An entry whose fence does not hold is left out of the answer; it is not an error. `event_seq` in the fence makes
 * repeating a flush harmless: the second time nothing matches.
 */
export async function flush(sql: Sql, given: readonly NewEntry[]): Promise<Committed[]> {
  // Rows are locked in the order of their ids by all that lock many: see `lockFamily`.
  const entries = given.toSorted((a, b) => (a.run_id < b.run_id ? -1 : 1));
  const column = (read: (entry: NewEntry) => string | number | null) => pgArray(entries.map(read));
  const tells = entries.some((entry) => isEnd(entry) || asksHuman(entry));
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
        ${column((e) => sum(e.usage, (u) => u.input_tokens + u.output_tokens))}::int[],
        ${column((e) => sum(e.usage, (u) => u.cost_micro_usd))}::bigint[],
        ${column((e) => e.status)}::text[],
        ${column(wakeMs)}::float8[],
        ${column((e) => e.signals)}::int[],
        ${column((e) => e.error)}::text[]
      ) as e(run_id, attempt, owner, known_seq, kind, step_path, visit, output, events, events_n, deadline_ms,
        current_step, steps, tokens, cost, status, wake_ms, signals, error)
      -- Without it (see few in sql.ts) runs would be read from end to end while they are not many.
      limit ${entries.length}
    )${usageRows(sql, entries)}, ${entries.some(isEnd) ? moveFamilies(sql) : sql`moved as (${move(sql)})`}, written as (
      insert into journal (run_id, seq, events_n, attempt, kind, step_path, visit, output, events)
      select run_id, event_seq, events_n, attempt, kind, step_path, visit, nullif(output, ''), events from moved
    )${chargeUsage(sql, entries)}${insertDeadLetters(sql, entries)}${insertWaits(sql, entries)}${tells ? tellOutside(sql, entries) : sql``}
    select run_id, event_seq, signals, cancel,
      ${tells ? sql`run_id in (select run_id from deliveries)` : sql`false`} as webhook
    from moved`;
}

/**
 * Moves the runs of entries on, under their fences: of all entries, or of those that end their run, or of the others
 * after those. Of the last, whose relative has just ended is told so with his own entry; a park has missed it.
 */
function move(sql: Sql, part: "all" | "ends" | "others" = "all") {
  const last = part === "others";
  const told = last
    ? sql`signals = r.signals + (k.run_id is not null)::int, cancel_requested_at = ${cancelRequestedAt(sql)},`
    : sql``;
  const from = last ? sql`e left join relatives k on k.run_id = e.run_id` : sql`e`;
  const only = {
    all: () => sql``,
    ends: () => sql`and e.ends and ${afterLocks(sql)}`,
    others: () => sql`and not e.ends and (e.kind <> 'park' or k.run_id is null)`,
  }[part]();
  return sql`
      update runs r set ${told}
        event_seq = r.event_seq + e.events_n,
        deadline_at = now() + e.deadline_ms * interval '1 millisecond',
        current_step_id = e.current_step,
        step_count = r.step_count + e.steps,
        tokens = r.tokens + e.tokens,
        cost_micro_usd = r.cost_micro_usd + e.cost,
        crash_count = case when e.kind in ('step', 'turn') then 0 else r.crash_count end,
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
        and (e.kind <> 'park' or r.signals = e.signals) ${only}
      returning r.run_id, r.event_seq, r.signals, r.cancel_requested_at is not null as cancel, r.attempt,
        e.events_n, e.kind, e.step_path, e.visit, e.output, e.events, ${deliverySnapshot(sql)}`;
}

/**
 * Moves the runs of a flush in which some end: these first. So a relative that has an entry here as well is changed
 * once, by one of the two. When nobody has relatives it costs 0.4 ms more than `move` alone, and 3 us for each end.
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

function isEnd({ status }: NewEntry): boolean {
  return status !== null && TERMINAL.has(status);
}

/** Does it give the slot back until a human has answered? */
function asksHuman({ kind, waits }: NewEntry): boolean {
  return kind === "park" && waits.some((wait) => wait.kind === "human");
}

function tellOutside(sql: Sql, entries: readonly NewEntry[]) {
  const asking = entries.filter(asksHuman).map(({ run_id }) => run_id);
  return insertDeliveries(sql, sql`moved`, asking);
}

function wakeMs({ wake_ms, waits }: NewEntry): number | null {
  return wake_ms && Math.min(wake_ms, ...waits.map((wait) => wait.deadline_ms ?? Infinity));
}

function hasUsage(entries: readonly NewEntry[]): boolean {
  return entries.some((entry) => entry.usage.length > 0);
}

/** Most flushes charge nothing: two more CTEs only for those that do. */
function usageRows(sql: Sql, entries: readonly NewEntry[]) {
  if (!hasUsage(entries)) return sql``;
  const rows = entries.flatMap(({ run_id, usage }) => usage.map((call) => ({ run_id, ...call })));
  return sql`, charges as (
      select * from unnest(
        ${pgArray(rows.map((u) => u.run_id))}::text[], ${pgArray(rows.map((u) => u.call))}::text[],
        ${pgArray(rows.map((u) => u.provider))}::text[], ${pgArray(rows.map((u) => u.model))}::text[],
        ${pgArray(rows.map((u) => u.input_tokens))}::int[], ${pgArray(rows.map((u) => u.output_tokens))}::int[],
        ${pgArray(rows.map((u) => u.cost_micro_usd))}::bigint[]
      ) as u(run_id, call, provider, model, input_tokens, output_tokens, cost)
    )`;
}

function chargeUsage(sql: Sql, entries: readonly NewEntry[]) {
  if (!hasUsage(entries)) return sql``;
  return sql`, charged as (
      insert into usage (run_id, seq, call, provider, model, input_tokens, output_tokens, cost_micro_usd)
      select run_id, m.event_seq, u.call, u.provider, u.model, u.input_tokens, u.output_tokens, u.cost
      from moved m join charges u using (run_id)
    )`;
}

/** Many JSON texts as one: JSON writes control characters as escapes, so U+001E stands in none, and nothing is escaped anew. */
function jsonTexts(texts: readonly string[]): string {
  return texts.join("\u001e");
}

/** One dead letter for each end in failure, in the same statement: it exists if and only if the run has failed. */
function insertDeadLetters(sql: Sql, entries: readonly NewEntry[]) {
  const dead = entries.flatMap(({ run_id, dead_letter }) =>
    dead_letter ? [{ run_id, ...dead_letter }] : [],
  );
  if (dead.length === 0) return sql``;
  return sql`, buried as (
      insert into dead_letters (run_id, seq, tenant_id, orchestration_id, code, message, stack, step_id, tries, attempt,
        first_failed_at)
      select run_id, m.event_seq, m.tenant_id, m.orchestration_id, d.code, d.message, d.stack, d.step_id, d.tries,
        m.attempt, coalesce(d.first_failed_at, now())
      from moved m join unnest(
        ${pgArray(dead.map((d) => d.run_id))}::text[], ${pgArray(dead.map((d) => d.code))}::text[],
        ${pgArray(dead.map((d) => d.message))}::text[], ${pgArray(dead.map((d) => d.stack))}::text[],
        ${pgArray(dead.map((d) => d.step_id))}::text[], ${pgArray(dead.map((d) => d.tries))}::int[],
        ${pgArray(dead.map((d) => d.first_failed_at))}::timestamptz[]
      ) as d(run_id, code, message, stack, step_id, tries, first_failed_at) using (run_id)
    )`;
}

function sum<Item>(items: readonly Item[], read: (item: Item) => number): number {
  return items.reduce((total, item) => total + read(item), 0);
}
