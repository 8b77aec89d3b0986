import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import type { NewRun } from "../../contracts/run.ts";
import { Schedule, TickRecord } from "../../contracts/schedule.ts";
import { readOrchestration } from "../definitions/orchestrations.ts";
import { acceptRuns, findAccepted } from "../runs/accept-runs.ts";
import type { QuotaCheckedBy } from "../runs/accept-runs.ts";
import { findSingletonHolder } from "../runs/singletons.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { sqlState } from "../unreachable.ts";
import { scheduleColumns } from "./schedule-rows.ts";

/** A claimed schedule belongs to its worker for this time. */
const CLAIM_SECONDS = 10;

/** Claimed schedules. `now_ms`: Postgres' time, since 1970. `next_ms`: the time until the next schedule is due; null: none has a tick. */
export const ClaimedSchedules = z.object({
  schedules: z.array(Schedule),
  now_ms: z.number(),
  next_ms: z.number().nullable(),
});
export type ClaimedSchedules = z.infer<typeof ClaimedSchedules>;

/**
 * Claims due schedules, at most `limit`; tenants take turns. If the worker dies, another one may claim them after 10 s. Two workers that
 * have the same schedule do no harm: the run of a tick has one id.
 */
export async function claimSchedules(sql: Sql, limit: number): Promise<ClaimedSchedules> {
  const waiting = await readNextTry(sql);
  // Every worker comes here each second, and mostly none is due: then there is no second statement.
  if (waiting.next_ms === null || waiting.next_ms > 0) return { schedules: [], ...waiting };
  const schedules = await sql`
    update schedules set try_at = now() + ${CLAIM_SECONDS} * interval '1 second'
    where (tenant_id, id) in (
      select s.tenant_id, s.id from schedules s join (
        select tenant_id, id, row_number() over (partition by tenant_id order by try_at, id) as place
        from schedules where try_at <= now() order by place, tenant_id limit ${limit}
      ) d using (tenant_id, id)
      where s.try_at <= now() for update of s skip locked)
    returning ${scheduleColumns(sql)}`;
  return { schedules: schedules.map((one) => Schedule.parse(one)), ...(await readNextTry(sql)) };
}

async function readNextTry(sql: Sql): Promise<Pick<ClaimedSchedules, "now_ms" | "next_ms">> {
  const [row] = await sql<{ now_ms: number; next_ms: number | null }[]>`
    select floor(extract(epoch from now()) * 1000)::float8 as now_ms,
      extract(epoch from min(try_at) - now())::float8 * 1000 as next_ms
    from schedules where try_at is not null`;
  if (!row) throw new Error("an aggregate returned no row");
  return row;
}

/**
 * What became of the run of a tick. `started`: it is committed, now or by an earlier try. `skipped`: the run `run_id` of the
 * schedule goes on. `missed`: it can never start. `refused`: Postgres found no room for it. `changed`: the schedule is not as it was
 * claimed.
 */
export const TickStart = z.discriminatedUnion("is", [
  z.object({ is: z.literal("started"), queued_at_ms: z.number(), delay_ms: z.number() }),
  z.object({ is: z.literal("skipped"), run_id: RunId.nullable() }),
  z.object({ is: z.literal("missed"), reason: z.string() }),
  z.object({ is: z.literal("refused"), reason: z.string() }),
  z.object({ is: z.literal("changed") }),
]);
export type TickStart = z.infer<typeof TickStart>;

/** SQLSTATE of a second row with the same key. */
const UNIQUE_VIOLATION = "23505";

/** Accepts the run of a tick, once, however often it is called, and only while its schedule is as it was claimed. */
export async function startTick(sql: Sql, run: NewRun, quotaCheckedBy: QuotaCheckedBy): Promise<TickStart> {
  const earlier = await findStarted(sql, run);
  if (earlier) return earlier;
  const claimed = claimedSchedule(sql, run);
  try {
    const accepted = await acceptRuns(
      sql,
      [run],
      quotaCheckedBy,
      claimed && sql`exists (${claimed} for share)`,
    );
    const started = accepted.get(run.run_id);
    if (started) return startedAs(started);
  } catch (error) {
    const other = sqlState(error) === UNIQUE_VIOLATION ? await findStarted(sql, run) : null;
    if (!other) throw error;
    return other;
  }
  if (claimed && (await claimed).length === 0) return { is: "changed" };
  const { tenant_id, orchestration_id, singleton } = run;
  if ((await readOrchestration(sql, tenant_id, orchestration_id)) === null)
    return { is: "missed", reason: "not_found" };
  const holder = singleton ? await findSingletonHolder(sql, tenant_id, singleton.key) : null;
  if (singleton?.policy === "skip" && (holder !== null || quotaCheckedBy === "queue"))
    return { is: "skipped", run_id: holder };
  return { is: "refused", reason: "queue_full" };
}

/**
 * Selects the schedule of a tick if it is as its worker has claimed it; null: a worker of an earlier version does not say how it was.
 *
 * The run is accepted under a lock on this row: a pause, a save or a delete waits for the run, or comes first and is seen here. So no
 * tick starts after the response to one of these.
 */
function claimedSchedule(sql: Sql, { tenant_id, tick }: NewRun): PendingQuery<Row[]> | null {
  if (tick === undefined) return null;
  return sql`
    select 1 from schedules
    where tenant_id = ${tenant_id} and id = ${tick.schedule} and version = ${tick.version}::bigint
      and next_tick_at = to_timestamp(${tick.next_tick_ms}::float8 / 1000)`;
}

/** The start of a tick's run by an earlier call; null: there was none. */
async function findStarted(sql: Sql, { run_id }: NewRun): Promise<TickStart | null> {
  const accepted = (await findAccepted(sql, [run_id])).get(run_id);
  return accepted ? startedAs(accepted) : null;
}

function startedAs({ queued_at_ms, delay_ms }: { queued_at_ms: number; delay_ms: number }): TickStart {
  return { is: "started", queued_at_ms, delay_ms };
}

/** The decision of a worker about a schedule that it claimed. `version` and `claimed_tick_ms`: its version and next tick when it was claimed. */
export const FiredSchedule = z.object({
  tenant_id: TenantId,
  id: z.string(),
  version: z.number(),
  // A worker of an earlier version does not send it.
  claimed_tick_ms: z.number().nullable().default(null),
  ticks: z.array(TickRecord),
  /** The next tick, and when a worker looks at the schedule again. Null: it has no tick any more. */
  next_tick_ms: z.number().nullable(),
  try_ms: z.number().nullable(),
  refused: z.string().nullable(),
});
export type FiredSchedule = z.infer<typeof FiredSchedule>;

/**
 * Saves the outcomes of ticks, and the next tick of their schedules. A schedule keeps its own next tick when it was changed meanwhile, or made
 * anew, or when another worker has moved it on because the claim had lapsed.
 */
export async function saveFired(sql: Sql, fired: readonly FiredSchedule[]): Promise<null> {
  const ticks = fired.flatMap(({ tenant_id, id, ticks: records }) =>
    records.map((record) => ({ tenant_id, id, ...record })),
  );
  await sql`
    with fired as (
      select * from unnest(
        ${pgArray(fired.map((f) => f.tenant_id))}::text[], ${pgArray(fired.map((f) => f.id))}::text[],
        ${pgArray(fired.map((f) => f.version))}::bigint[], ${pgArray(fired.map((f) => f.claimed_tick_ms))}::float8[],
        ${pgArray(fired.map((f) => f.next_tick_ms))}::float8[],
        ${pgArray(fired.map((f) => f.try_ms))}::float8[], ${pgArray(fired.map((f) => f.refused))}::text[]
      ) as f(tenant_id, id, version, claimed_tick_ms, next_tick_ms, try_ms, refused)
    ), moved as (
      update schedules s set next_tick_at = to_timestamp(f.next_tick_ms / 1000), try_at = to_timestamp(f.try_ms / 1000),
        refused = f.refused, paused = f.next_tick_ms is null
      from fired f where s.tenant_id = f.tenant_id and s.id = f.id and s.version = f.version and not s.paused
        and (f.claimed_tick_ms is null or s.next_tick_at = to_timestamp(f.claimed_tick_ms / 1000))
    )
    insert into schedule_ticks (tenant_id, schedule_id, tick_at, outcome, run_id, reason, until_at)
    select t.tenant_id, t.id, to_timestamp(t.tick_ms / 1000), t.outcome, t.run_id, t.reason, to_timestamp(t.until_ms / 1000)
    from unnest(
      ${pgArray(ticks.map((t) => t.tenant_id))}::text[], ${pgArray(ticks.map((t) => t.id))}::text[],
      ${pgArray(ticks.map((t) => t.tick_ms))}::float8[], ${pgArray(ticks.map((t) => t.outcome))}::text[],
      ${pgArray(ticks.map((t) => t.run_id))}::text[], ${pgArray(ticks.map((t) => t.reason))}::text[],
      ${pgArray(ticks.map((t) => t.until_ms))}::float8[]
    ) as t(tenant_id, id, tick_ms, outcome, run_id, reason, until_ms)
    on conflict (tenant_id, schedule_id, tick_at) do nothing`;
  return null;
}
