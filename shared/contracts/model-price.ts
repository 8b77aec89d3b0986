import { priceTable } from "./price-table.ts";
import type { ModelName, Provider } from "./model-name.ts";
import type { Price } from "./price-table.ts";

/** The version at the end of `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929` or `…-latest`. The price table has names without it. */
const VERSION_SUFFIX = /-(?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3}|latest|preview)$/;

/** Self-hosted servers: their calls have no price per token. */
const FREE_PROVIDERS: ReadonlySet<Provider> = new Set(["ollama"]);
const FREE: Price = { input: 0, output: 0 };

/** The price of a model; undefined: not known. */
export function priceOf({ provider, model }: ModelName): Price | undefined {
  if (FREE_PROVIDERS.has(provider)) return FREE;
  if (provider === "demo") return priceTable.get("demo");
  return priceTable.get(model) ?? priceTable.get(model.replace(VERSION_SUFFIX, ""));
}

/** The error text of a model without a known price, under a limit on money: the limit could not hold. Null: it has a price. */
export function priceError(requested: string, name: ModelName): string | null {
  return priceOf(name) === undefined
    ? `"${requested}" has no known price, so max_total_cost_usd cannot hold: use a model with a price, or no limit`
    : null;
}
