import { laneSettings } from "../../contracts/lane-settings.ts";
import { readLanes } from "../lanes/lane-rows.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The most mails of one kind that one call deletes. */
const BATCH = 10_000;

/**
 * Deletes mails that had their outcome longer ago than the lane `mail` keeps them, and of each tenant those beyond the number that it
 * keeps: the oldest ones.
 * @returns true when more may be left
 */
export async function deleteMails(sql: Sql): Promise<boolean> {
  const keep = laneSettings("mail", await readLanes(sql));
  const counts = [
    await deleteOld(sql, sql`= 'sent'`, keep.keep_completed_seconds),
    await deleteOld(sql, sql`<> 'sent'`, keep.keep_failed_seconds),
    await deleteBeyond(sql, sql`= 'sent'`, keep.keep_completed_count),
    await deleteBeyond(sql, sql`<> 'sent'`, keep.keep_failed_count),
  ];
  return Math.max(...counts) >= BATCH;
}

async function deleteOld(sql: Sql, outcome: PendingQuery<Row[]>, seconds: number | null): Promise<number> {
  if (seconds === null) return 0;
  const { count } = await sql`
    delete from mails where message_id in (
      select message_id from mails
      where created_at < now() - ${seconds} * interval '1 second' and done_at < now() - ${seconds} * interval '1 second'
        and outcome ${outcome}
      order by created_at limit ${BATCH})`;
  return count;
}

async function deleteBeyond(sql: Sql, outcome: PendingQuery<Row[]>, most: number | null): Promise<number> {
  if (most === null) return 0;
  const { count } = await sql`
    delete from mails where message_id in (
      select message_id from (
        select message_id, row_number() over (partition by tenant_id order by created_at desc, message_id desc) as place
        from mails where outcome ${outcome}
      ) m where place > ${most} limit ${BATCH})`;
  return count;
}
