import { priceTable } from "./price-table.ts";

/** What `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929` and `…-latest` add to the name that has the price. */
const VERSION = /-(?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3}|latest|preview)$/;

export type Tokens = { input: number; cachedInput: number; output: number };

/**
 * What a call costs, in micro-dollars, rounded up once for the whole call. A model that is not in the table costs 0:
 * a price that nobody knows is not guessed. `input` counts `cachedInput` too.
 */
export function costMicroUsd(model: string, tokens: Tokens): number {
  const price = priceTable.get(model) ?? priceTable.get(model.replace(VERSION, ""));
  if (price === undefined) return 0;
  const fresh = Math.max(0, tokens.input - tokens.cachedInput);
  const cost =
    fresh * price.input +
    tokens.cachedInput * (price.cached_input ?? price.input) +
    tokens.output * price.output;
  // Sums of decimal prices miss whole numbers by a hair, which must not cost a micro-dollar.
  return Math.ceil(cost - 1e-6);
}
