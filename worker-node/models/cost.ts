import { priceTable } from "./price-table.ts";

/** The version at the end of `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929` or `…-latest`. The price table has names without it. */
const VERSION_SUFFIX = /-(?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3}|latest|preview)$/;

export type Tokens = { input: number; cachedInput: number; output: number };

/**
 * The cost of a call in micro-dollars, rounded up once for the whole call. A model that is not in the table costs 0: an
 * unknown price is not guessed. `tokens.input` includes `tokens.cachedInput`.
 */
export function costMicroUsd(model: string, tokens: Tokens): number {
  const price = priceTable.get(model) ?? priceTable.get(model.replace(VERSION_SUFFIX, ""));
  if (price === undefined) return 0;
  const uncachedInput = Math.max(0, tokens.input - tokens.cachedInput);
  const cost =
    uncachedInput * price.input +
    tokens.cachedInput * (price.cached_input ?? price.input) +
    tokens.output * price.output;
  // A sum of decimal prices may exceed a whole number by a rounding error, which must not cost a micro-dollar.
  return Math.ceil(cost - 1e-6);
}
