import { BytesRoom, roomFor } from "./file-bytes.ts";
import { FileFacts, UploadId } from "../../contracts/artifact.ts";
import type { RunId, TenantId } from "../../contracts/ids.ts";
import { DEFAULT_FILE_BYTES } from "../../contracts/tenant.ts";
import { pgArray } from "../sql.ts";
import type { Row, Sql } from "../sql.ts";

/** An upload of a tenant. */
export type Upload = FileFacts & { upload_id: UploadId; tenant_id: string };
/** An upload whose bytes are on their way. */
export type NewUpload = Omit<Upload, "sha256">;

/** The most bytes of one upload of a tenant, and the number and the bytes of those that no run has named. */
export type UploadRoom = { maxBytes: number; unnamed: number; unnamedBytes: number };

/** Reads the room that a tenant has for uploads. */
export async function readUploadRoom(sql: Sql, tenant: TenantId): Promise<UploadRoom> {
  const [row] = await sql<UploadRoom[]>`
    select coalesce((select max_artifact_bytes from tenants where tenant_id = ${tenant}), ${DEFAULT_FILE_BYTES}::bigint)::float8 as "maxBytes",
      count(*)::int as unnamed, coalesce(sum(bytes), 0)::float8 as "unnamedBytes"
    from uploads where tenant_id = ${tenant} and named_at is null and deleted_at is null`;
  return row ?? { maxBytes: 0, unnamed: 0, unnamedBytes: 0 };
}

/**
 * Inserts the row of an upload, before its first byte is stored. So every object of an upload has a row, by which the object is
 * deleted. The bytes count from here on.
 * @returns not `accepted`: the bytes would pass the limit of the tenant, and there is no row
 */
export async function beginUpload(sql: Sql, upload: NewUpload): Promise<BytesRoom> {
  const { upload_id, tenant_id, name, content_type, bytes } = upload;
  const [row] = await sql`
    with ${roomFor(sql, tenant_id, bytes)}, begun as (
      insert into uploads (upload_id, tenant_id, name, content_type, bytes)
      select ${upload_id}, ${tenant_id}, ${name}, ${content_type}, ${bytes} from room where accepted
      on conflict (upload_id) do nothing
    )
    select accepted, used, most from room`;
  return BytesRoom.parse(row);
}

/** Gives back the bytes of an upload that could not be stored. The reconciler deletes its row, and its object if there is one. */
export async function abandonUpload(sql: Sql, upload: UploadId): Promise<void> {
  await sql`
    update uploads set deleted_at = now(), kept_until = now()
    where upload_id = ${upload} and stored_at is null and deleted_at is null`;
}

/** Makes an upload visible, after its last byte is stored. @returns false: the upload has been deleted meanwhile */
export async function completeUpload(sql: Sql, upload: UploadId, sha256: string): Promise<boolean> {
  const rows = await sql`
    update uploads set sha256 = ${sha256}, stored_at = coalesce(stored_at, now())
    where upload_id = ${upload} and deleted_at is null
    returning upload_id`;
  return rows.length > 0;
}

/**
 * One upload of a tenant; null when that tenant has no such upload.
 * @param tenant null: any tenant, for a platform key
 */
export async function readUpload(
  sql: Sql,
  tenant: TenantId | null,
  upload: UploadId,
): Promise<Upload | null> {
  const [row] = await sql`
    select ${columns(sql)} from uploads
    where upload_id = ${upload} and (${tenant}::text is null or tenant_id = ${tenant}) and ${visible(sql)}`;
  return row === undefined ? null : uploadOf(row);
}

/**
 * Records that a run uses uploads of its tenant, before the run is accepted: from then on they are kept as long as the run
 * exists, and a day longer in any case. A deletion at the same moment waits for this update, and then sees it.
 * @returns the uploads that exist, in any order
 */
export async function nameUploads(
  sql: Sql,
  tenant: TenantId,
  run: RunId,
  uploads: readonly UploadId[],
): Promise<Upload[]> {
  const rows = await sql`
    with named as (
      update uploads set named_at = now(), kept_until = greatest(kept_until, now() + interval '24 hours')
      where tenant_id = ${tenant} and upload_id = any (${pgArray(uploads)}::text[]) and ${visible(sql)}
      returning ${columns(sql)}
    ), uses as (
      insert into upload_uses (run_id, upload_id) select ${run}, upload_id from named on conflict do nothing
    )
    select * from named`;
  return rows.map(uploadOf);
}

/**
 * Deletes an upload that no run uses; the caller deletes its object, and the reconciler the row. A run that named it in the last
 * five minutes may be on its way into Postgres, so the upload counts as used.
 * @returns the upload; `used`: a run uses it, and it is not deleted; null: that tenant has no such upload
 */
export async function deleteUpload(
  sql: Sql,
  tenant: TenantId | null,
  upload: UploadId,
): Promise<Upload | "used" | null> {
  const [row] = await sql`
    update uploads set deleted_at = now(), kept_until = now()
    where upload_id = ${upload} and (${tenant}::text is null or tenant_id = ${tenant}) and ${visible(sql)}
      and (named_at is null or named_at < now() - interval '5 minutes') and not ${isUsed(sql)}
    returning ${columns(sql)}`;
  if (row) return uploadOf(row);
  return (await readUpload(sql, tenant, upload)) === null ? null : "used";
}

function visible(sql: Sql) {
  return sql`stored_at is not null and deleted_at is null`;
}

/** Whether a run uses the row of `uploads`. */
export function isUsed(sql: Sql) {
  return sql`exists (select from upload_uses s join runs r using (run_id) where s.upload_id = uploads.upload_id)`;
}

function columns(sql: Sql) {
  return sql`upload_id, tenant_id, name, content_type, bytes::float8 as bytes, sha256`;
}

function uploadOf(row: Row): Upload {
  return {
    ...FileFacts.parse(row),
    upload_id: UploadId.parse(row.upload_id),
    tenant_id: String(row.tenant_id),
  };
}
