import { ProviderLimit } from "../../contracts/provider-limit.ts";
import type { ModelName } from "../../contracts/model-name.ts";
import type { Sql } from "../sql.ts";

/** The most limits that an operator may set: every worker holds all of them. */
export const MAX_PROVIDER_LIMITS = 1_000;

/** All limits that the operator has set, by model. */
export async function readProviderLimits(sql: Sql): Promise<ProviderLimit[]> {
  const rows = await sql`
    select provider || '/' || model as model, max_concurrent, requests_per_minute, tokens_per_minute,
      context_tokens
    from provider_limits order by 1 limit ${MAX_PROVIDER_LIMITS}`;
  return rows.map((row) => ProviderLimit.parse(row));
}

/** Sets the limits of a model. @returns false when MAX_PROVIDER_LIMITS other models have some */
export async function saveProviderLimit(
  sql: Sql,
  { provider, model }: ModelName,
  limit: Omit<ProviderLimit, "model">,
): Promise<boolean> {
  const rows = await sql`
    insert into provider_limits
      (provider, model, max_concurrent, requests_per_minute, tokens_per_minute, context_tokens)
    select ${provider}, ${model}, ${limit.max_concurrent}::int, ${limit.requests_per_minute}::int,
      ${limit.tokens_per_minute}::int, ${limit.context_tokens}::int
    where (select count(*) from provider_limits where (provider, model) <> (${provider}, ${model}))
      < ${MAX_PROVIDER_LIMITS}
    on conflict (provider, model) do update set max_concurrent = excluded.max_concurrent,
      requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute,
      context_tokens = excluded.context_tokens,
      updated_at = now()
    returning 1`;
  return rows.length > 0;
}

/** Removes the limits of a model. @returns false when there are none */
export async function deleteProviderLimit(sql: Sql, { provider, model }: ModelName): Promise<boolean> {
  const rows = await sql`
    delete from provider_limits where provider = ${provider} and model = ${model} returning 1`;
  return rows.length > 0;
}
