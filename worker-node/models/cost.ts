import { priceOf, priceWithInput } from "../../shared/contracts/model-price.ts";
import type { ReplacedPrices } from "../../shared/contracts/model-price.ts";
import type { ModelName } from "../../shared/contracts/model-name.ts";

/** The tokens of a call. `input` includes `cachedInput`. */
export type Tokens = { input: number; cachedInput: number; output: number };

/**
 * The cost of a call in micro-dollars, rounded up once for the whole call. A model without a known price costs 0: a price
 * is not guessed. `tokens.input` includes `tokens.cachedInput`.
 */
export function costMicroUsd(name: ModelName, tokens: Tokens, replaced?: ReplacedPrices): number {
  const known = priceOf(name, replaced);
  if (known === undefined) return 0;
  const price = priceWithInput(known, tokens.input);
  const uncachedInput = Math.max(0, tokens.input - tokens.cachedInput);
  const cost =
    uncachedInput * price.input +
    Math.min(tokens.cachedInput, tokens.input) * (price.cached_input ?? price.input) +
    tokens.output * price.output;
  // A sum of decimal prices may exceed a whole number by a rounding error, which must not cost a micro-dollar.
  return Math.ceil(cost - 1e-6);
}
