import type { UploadId } from "../../contracts/artifact.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import { isUsed } from "./uploads.ts";

/** An upload that is deleted, and whose object may still be there. */
export type ExpiredUpload = { upload_id: string; tenant_id: string };

const PAGE = 100;

/**
 * Uploads whose objects are to be deleted now: those whose time is over and that no run uses, with or without bytes, and those that a
 * client has deleted. No request finds them from here on. An upload whose row the caller does not delete is returned again a minute
 * later. An upload that a run uses is examined again after a month.
 */
export async function takeExpiredUploads(sql: Sql): Promise<ExpiredUpload[]> {
  const rows = await sql<ExpiredUpload[]>`
    with due as (
      select upload_id, deleted_at is null and ${isUsed(sql)} as used
      from uploads where kept_until < now() order by kept_until limit ${PAGE}
    ), kept as (
      update uploads u set kept_until = now() + interval '30 days' from due
      where u.upload_id = due.upload_id and due.used and u.kept_until < now()
    )
    update uploads u set deleted_at = coalesce(u.deleted_at, now()), kept_until = now() + interval '1 minute' from due
    where u.upload_id = due.upload_id and not due.used and u.kept_until < now()
    returning u.upload_id, u.tenant_id`;
  return [...rows];
}

/** Deletes the rows of uploads whose objects are deleted. */
export async function forgetUploads(sql: Sql, uploads: readonly UploadId[]): Promise<null> {
  await sql`
    with forgotten as (
      delete from uploads where upload_id = any (${pgArray(uploads)}::text[]) and deleted_at is not null
      returning upload_id
    )
    delete from upload_uses s using forgotten f where s.upload_id = f.upload_id`;
  return null;
}
