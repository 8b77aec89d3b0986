import { z } from "zod";
import { TenantId } from "../../contracts/ids.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** The most answers that are kept for one tenant, and their bytes: the oldest go first. */
const MAX_ANSWERS = 1_000;
const MAX_BYTES = 16 * 1024 * 1024;
/** A longer answer is not kept. */
export const MAX_ANSWER_BYTES = 256 * 1024;

/** The most answers that one statement keeps. */
export const MAX_KEPT_AT_ONCE = 16;

/** An answer to keep. `answer`: JSON text. `request_hash`: of the model and of everything that it read. */
export const AnswerToKeep = z.object({
  tenant_id: TenantId,
  request_hash: z.string().length(64),
  answer: z.string().max(MAX_ANSWER_BYTES),
  ttl_seconds: z.number().int().positive(),
});
export type AnswerToKeep = z.infer<typeof AnswerToKeep>;

/** Which answer is wanted, and how old it may be. */
export const AnswerWanted = AnswerToKeep.pick({ tenant_id: true, request_hash: true, ttl_seconds: true });
export type AnswerWanted = z.infer<typeof AnswerWanted>;

/** An answer that was kept. `age_ms`: the time since it was stored. */
export const KeptAnswer = z.object({ answer: z.string(), age_ms: z.number() });
export type KeptAnswer = z.infer<typeof KeptAnswer>;

/** The tenant's own answer to the same request, if one of at most `ttl_seconds` is kept. */
export async function readKeptAnswer(sql: Sql, wanted: AnswerWanted): Promise<KeptAnswer | null> {
  const { tenant_id, request_hash, ttl_seconds } = wanted;
  const [row] = await sql`
    select answer, extract(epoch from now() - kept_at)::float8 * 1000 as age_ms from kept_answers
    where tenant_id = ${tenant_id} and request_hash = ${request_hash} and expires_at > now()
      and kept_at > now() - ${ttl_seconds}::int * interval '1 second'`;
  return row ? KeptAnswer.parse(row) : null;
}

/**
 * Keeps answers of one tenant, in place of older ones to the same requests, and deletes the tenant's oldest beyond its bounds.
 * Statements at the same moment may pass the bounds by what they add, until the next one.
 */
export async function keepAnswers(sql: Sql, answers: readonly AnswerToKeep[]): Promise<null> {
  const last = [...new Map(answers.map((each) => [each.request_hash, each])).values()];
  const [first] = last;
  if (first === undefined) return null;
  await sql`
    with added as materialized (
      select * from unnest(
        ${pgArray(last.map((each) => each.request_hash))}::text[], ${pgArray(last.map((each) => each.answer))}::text[],
        ${pgArray(last.map((each) => each.ttl_seconds))}::int[]) as a(request_hash, answer, ttl)
    ), kept as (
      insert into kept_answers (tenant_id, request_hash, answer, bytes, expires_at)
      select ${first.tenant_id}, request_hash, answer, octet_length(answer), now() + ttl * interval '1 second' from added order by request_hash
      on conflict (tenant_id, request_hash) do update set answer = excluded.answer, bytes = excluded.bytes,
        kept_at = now(), expires_at = excluded.expires_at
    ), ranked as (
      select request_hash, row_number() over newest_first as place, sum(bytes) over newest_first as bytes
      from kept_answers where tenant_id = ${first.tenant_id} and request_hash not in (select request_hash from added)
      window newest_first as (order by kept_at desc, request_hash rows unbounded preceding)
    )
    delete from kept_answers k using ranked r
    where k.tenant_id = ${first.tenant_id} and k.request_hash = r.request_hash and (
      r.place > ${MAX_ANSWERS - last.length} or
      r.bytes > ${MAX_BYTES} - (select sum(octet_length(answer)) from added))`;
  return null;
}
