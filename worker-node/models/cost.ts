import { priceTable } from "./price-table.ts";
import type { ModelName, Provider } from "./model-name.ts";
import type { Price } from "./price-table.ts";

/** The version at the end of `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929` or `…-latest`. The price table has names without it. */
const VERSION_SUFFIX = /-(?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3}|latest|preview)$/;

export type Tokens = { input: number; cachedInput: number; output: number };

/** Self-hosted servers: their calls have no price per token. */
const FREE_PROVIDERS: ReadonlySet<Provider> = new Set(["ollama"]);
const FREE: Price = { input: 0, output: 0 };

/** The price of a model; undefined: not known. */
function priceOf({ provider, model }: ModelName): Price | undefined {
  if (FREE_PROVIDERS.has(provider)) return FREE;
  if (provider === "demo") return priceTable.get("demo");
  return priceTable.get(model) ?? priceTable.get(model.replace(VERSION_SUFFIX, ""));
}

/** A limit on money can hold only for calls whose cost is known. */
export function hasPrice(name: ModelName): boolean {
  return priceOf(name) !== undefined;
}

/**
 * The cost of a call in micro-dollars, rounded up once for the whole call. A model without a known price costs 0: a price
 * is not guessed. `tokens.input` includes `tokens.cachedInput`.
 */
export function costMicroUsd(name: ModelName, tokens: Tokens): number {
  const price = priceOf(name);
  if (price === undefined) return 0;
  const uncachedInput = Math.max(0, tokens.input - tokens.cachedInput);
  const cost =
    uncachedInput * price.input +
    Math.min(tokens.cachedInput, tokens.input) * (price.cached_input ?? price.input) +
    tokens.output * price.output;
  // A sum of decimal prices may exceed a whole number by a rounding error, which must not cost a micro-dollar.
  return Math.ceil(cost - 1e-6);
}
