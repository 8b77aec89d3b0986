import { sealedPlace } from "../../security/seal.ts";
import { z } from "zod";
import { DefinitionId, TenantId } from "../../contracts/ids.ts";
import { MAX_PER_TENANT } from "../../contracts/schedule.ts";
import type { Sql } from "../sql.ts";

/** The id of a trigger. It is part of a URL that needs no API key, so it cannot be guessed. */
export const TriggerId = z
  .string()
  .regex(/^trg_[0-9a-f]{32}$/)
  .brand("TriggerId");
export type TriggerId = z.infer<typeof TriggerId>;

/** The place for which the secret of a trigger is sealed. */
export function triggerPlace(trigger: string): string {
  return sealedPlace(trigger, "secret");
}

/** A trigger as it is stored. Times in milliseconds since 1970. */
const Trigger = z.object({
  trigger_id: TriggerId,
  tenant_id: TenantId,
  orchestration_id: DefinitionId,
  name: z.string(),
  /** Sealed for the place `secret` of this trigger. */
  secret: z.string(),
  /** JSON text of a RunTemplate. */
  request: z.string(),
  message_path: z.string().nullable(),
  disabled: z.boolean(),
  created_at_ms: z.number(),
  updated_at_ms: z.number(),
});
export type Trigger = z.infer<typeof Trigger>;
/** A trigger as a request saves it, without its secret. */
export type SavedTrigger = Omit<Trigger, "secret" | "created_at_ms" | "updated_at_ms">;

function columns(sql: Sql) {
  return sql`trigger_id, tenant_id, orchestration_id, name, secret, request, message_path, disabled,
    extract(epoch from created_at)::float8 * 1000 as created_at_ms,
    extract(epoch from updated_at)::float8 * 1000 as updated_at_ms`;
}

/** Creates a trigger. @returns null when it would be one more than a tenant may have */
export async function insertTrigger(
  sql: Sql,
  trigger: SavedTrigger,
  secret: string,
): Promise<Trigger | null> {
  const t = trigger;
  const [row] = await sql`
    insert into triggers (trigger_id, tenant_id, orchestration_id, name, secret, request, message_path, disabled)
    select ${t.trigger_id}, ${t.tenant_id}, ${t.orchestration_id}, ${t.name}, ${secret}, ${t.request},
      ${t.message_path}, ${t.disabled}::boolean
    where (select count(*) from triggers where tenant_id = ${t.tenant_id}) < ${MAX_PER_TENANT}::int
    returning ${columns(sql)}`;
  return row ? Trigger.parse(row) : null;
}

/**
 * Replaces a trigger of a tenant.
 * @param secret null: it keeps the secret that it has at this moment
 * @returns null: there is none
 */
export async function updateTrigger(
  sql: Sql,
  trigger: SavedTrigger,
  secret: string | null,
): Promise<Trigger | null> {
  const t = trigger;
  const [row] = await sql`
    update triggers set orchestration_id = ${t.orchestration_id}, name = ${t.name},
      secret = coalesce(${secret}, secret),
      request = ${t.request}, message_path = ${t.message_path}, disabled = ${t.disabled}, updated_at = now()
    where trigger_id = ${t.trigger_id} and tenant_id = ${t.tenant_id}
    returning ${columns(sql)}`;
  return row ? Trigger.parse(row) : null;
}

/** One trigger, or null. @param tenant null: of any tenant, for a request that its signature authorises */
export async function readTrigger(sql: Sql, tenant: TenantId | null, id: TriggerId): Promise<Trigger | null> {
  const [row] = await sql`
    select ${columns(sql)} from triggers
    where trigger_id = ${id} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? Trigger.parse(row) : null;
}

/** A page of a tenant's triggers, ordered by id. */
export async function listTriggers(
  sql: Sql,
  tenant: TenantId,
  after: string,
  limit: number,
): Promise<Trigger[]> {
  const rows = await sql`
    select ${columns(sql)} from triggers
    where tenant_id = ${tenant} and trigger_id > ${after} order by trigger_id limit ${limit}`;
  return rows.map((row) => Trigger.parse(row));
}

/** Deletes a trigger. @returns false: the tenant has no such trigger */
export async function deleteTrigger(sql: Sql, tenant: TenantId, id: TriggerId): Promise<boolean> {
  const rows = await sql`
    delete from triggers where trigger_id = ${id} and tenant_id = ${tenant} returning trigger_id`;
  return rows.length > 0;
}

/** Deletes an idempotency key of a tenant if it is older than `seconds`. */
export async function forgetOlderKey(
  sql: Sql,
  tenant: TenantId,
  key: string,
  seconds: number,
): Promise<void> {
  await sql`
    delete from idempotency_keys
    where tenant_id = ${tenant} and key = ${key} and created_at < now() - ${seconds} * interval '1 second'`;
}
