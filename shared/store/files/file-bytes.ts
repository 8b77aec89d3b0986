import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { NO_BYTES_LIMIT } from "../../contracts/tenant.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** Whether a tenant may store more bytes. `used`: the bytes of its files without these. `most`: its `max_total_artifact_bytes`. */
export const BytesRoom = z.object({ accepted: z.boolean(), used: z.number(), most: z.number() });
export type BytesRoom = z.infer<typeof BytesRoom>;

/** A file that a tool has stored, and that its attempt has not committed yet. */
export const StoredFile = z.object({
  object_key: z.string(),
  tenant_id: TenantId,
  run_id: RunId,
  attempt: z.number().int(),
  bytes: z.number().int().nonnegative(),
});
export type StoredFile = z.infer<typeof StoredFile>;

/**
 * The CTE `room` (accepted, used, most) of a statement that stores `bytes` more of a tenant. Such statements of one tenant take turns, so
 * together they never pass its limit (docs/protocol.md 7.17).
 */
export function roomFor(sql: Sql, tenant: string, bytes: number): PendingQuery<Row[]> {
  return sql`room as materialized (
      select used::float8 as used, most::float8 as most, used + ${bytes}::bigint <= most as accepted from (
        select lock_file_bytes(${tenant}) as used,
          coalesce((select max_total_artifact_bytes from tenants where tenant_id = ${tenant}), ${NO_BYTES_LIMIT}::bigint) as most
      ) counted
    )`;
}

/**
 * Reserves the bytes of a file that is stored, if the tenant's limit leaves room for them. The commit of its call turns the reservation
 * into the file's row; `releaseFiles` gives it back when its attempt can commit nothing any more. A repeated call reserves nothing twice.
 */
export async function reserveFile(sql: Sql, file: StoredFile): Promise<BytesRoom> {
  const { object_key, tenant_id, run_id, attempt, bytes } = file;
  const [row] = await sql`
    with known as materialized (
      select from file_reservations where object_key = ${object_key}
    ), ${roomFor(sql, tenant_id, bytes)}, reserved as (
      insert into file_reservations (object_key, tenant_id, run_id, attempt, bytes)
      select ${object_key}, ${tenant_id}, ${run_id}, ${attempt}, ${bytes} from room where accepted
      on conflict do nothing
    )
    select accepted or exists (select from known) as accepted, used, most from room`;
  return BytesRoom.parse(row);
}

/** How many reservations one call gives back, and of how many tenants it adds up the changes. */
const BATCH = 1_000;

/**
 * Gives back the reserved bytes of files whose attempt does not move its run any more, and so can commit nothing more. It also adds up
 * the changes of tenants' files: no other statement does so for a tenant that only deletes.
 * @returns true when more may be left
 */
export async function releaseFiles(sql: Sql): Promise<boolean> {
  const { count } = await sql`
    delete from file_reservations where object_key in (
      select f.object_key from file_reservations f
      where not exists (
        select from runs r where r.run_id = f.run_id and r.owner is not null and r.attempt = f.attempt)
      limit ${BATCH})`;
  await sql`
    select lock_file_bytes(tenant_id) from (
      select distinct tenant_id from file_bytes_changes order by tenant_id limit ${BATCH}) t`;
  return count === BATCH;
}
