import { ModelPrice, isSameModel } from "../../contracts/model-price.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** The most prices that an operator may set: every worker holds all of them. */
export const MAX_PRICES = 1_000;

/** All prices that the operator has set, by model. */
export async function readModelPrices(sql: Sql): Promise<ModelPrice[]> {
  const rows = await sql`
    select model, input_price as input_usd_per_million, cached_input_price as cached_input_usd_per_million,
      output_price as output_usd_per_million, long_prompt, max_output_tokens
    from model_prices order by model limit ${MAX_PRICES}`;
  return rows.map((row) => ModelPrice.parse(row));
}

/** Sets the price of a model, and replaces its price under the other name, with or without the provider. @returns false when MAX_PRICES other models have one */
export async function saveModelPrice(sql: Sql, price: ModelPrice): Promise<boolean> {
  const names = pgArray([price.model, ...(await spellingsOf(sql, price.model))]);
  const longPrompt = price.long_prompt === null ? null : JSON.stringify(price.long_prompt);
  const rows = await sql`
    with others as (delete from model_prices where model = any(${names}::text[]) and model <> ${price.model})
    insert into model_prices (model, input_price, cached_input_price, output_price, long_prompt, max_output_tokens)
    select ${price.model}, ${price.input_usd_per_million}::float8, ${price.cached_input_usd_per_million}::float8,
      ${price.output_usd_per_million}::float8, ${longPrompt}::text::jsonb, ${price.max_output_tokens}::int
    where (select count(*) from model_prices where model <> all(${names}::text[])) < ${MAX_PRICES}
    on conflict (model) do update set input_price = excluded.input_price, cached_input_price = excluded.cached_input_price,
      output_price = excluded.output_price, long_prompt = excluded.long_prompt, max_output_tokens = excluded.max_output_tokens, updated_at = now()
    returning 1`;
  return rows.length > 0;
}

/** Removes the operator's price of a model. @returns false when there is none */
export async function deleteModelPrice(sql: Sql, model: string): Promise<boolean> {
  const rows = await sql`
    delete from model_prices where model = any(${pgArray(await spellingsOf(sql, model))}::text[]) returning 1`;
  return rows.length > 0;
}

/** The names, with the provider or without, under which a model has a price. */
async function spellingsOf(sql: Sql, model: string): Promise<string[]> {
  const prices = await readModelPrices(sql);
  return prices.map((price) => price.model).filter((name) => isSameModel(name, model));
}
