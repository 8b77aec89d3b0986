import { z } from "zod";
import { parseModelName } from "./model-name.ts";
import { priceTable } from "./price-table.ts";
import type { ModelName, Provider } from "./model-name.ts";
import type { Price } from "./price-table.ts";

/** The version at the end of a name: `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929`, `…-latest`. The price table has names without one. */
const VERSION_SUFFIX = /-(?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3}|latest|preview)$/;

/** Self-hosted servers: their calls have no price per token. */
const FREE_PROVIDERS: ReadonlySet<Provider> = new Set(["ollama"]);
const FREE: Price = { input: 0, output: 0 };

const usdPerMillion = z.number().min(0).max(1_000_000);

/** A price that the operator of this deployment has set. `model`: as a definition names it, with or without its provider. */
export const ModelPrice = z.object({
  model: z
    .string()
    .max(200)
    .refine(
      (name) => parseModelName(name) !== null && !/[\s\p{Cc}*]/u.test(name),
      "names no model: write provider/model, or a name that determines its provider, without spaces and without *",
    ),
  input_usd_per_million: usdPerMillion,
  /** Input that the provider found in its prompt cache; null: at the price of other input. */
  cached_input_usd_per_million: usdPerMillion.nullable().default(null),
  output_usd_per_million: usdPerMillion,
  /**
   * The most tokens of one answer, which a limit on money reserves, and which calls under such a limit ask for at most. Null: as
   * the built-in table says.
   */
  max_output_tokens: z.number().int().min(1).max(10_000_000).nullable().default(null),
});
export type ModelPrice = z.infer<typeof ModelPrice>;

/** The prices that replace those of the built-in table, by the name of the model. */
export type ReplacedPrices = ReadonlyMap<string, Price>;
const NONE: ReplacedPrices = new Map();

/** The replaced prices as `priceOf` takes them. */
export function replacedPrices(prices: readonly ModelPrice[]): ReplacedPrices {
  return new Map(
    prices.map((price) => {
      const name = parseModelName(price.model);
      const maxOutput =
        price.max_output_tokens ?? (name === null ? undefined : builtInPriceOf(name)?.max_output);
      return [
        name === null ? price.model : keyOf(name),
        {
          input: price.input_usd_per_million,
          output: price.output_usd_per_million,
          ...(price.cached_input_usd_per_million === null
            ? {}
            : { cached_input: price.cached_input_usd_per_million }),
          ...(maxOutput === undefined ? {} : { max_output: maxOutput }),
          isCapped: price.max_output_tokens !== null,
        },
      ];
    }),
  );
}

/** The price of a model, the operator's before the built-in one; undefined: not known. */
export function priceOf(name: ModelName, replaced: ReplacedPrices = NONE): Price | undefined {
  const unversioned = { ...name, model: name.model.replace(VERSION_SUFFIX, "") };
  return replaced.get(keyOf(name)) ?? replaced.get(keyOf(unversioned)) ?? builtInPriceOf(name);
}

/** The price of a call with this much input: some providers take more for all of it when its prompt is long. */
export function priceWithInput(price: Price, inputTokens: number): Price {
  const { beyond } = price;
  return beyond !== undefined && inputTokens > beyond.tokens ? { ...price, ...beyond } : price;
}

function builtInPriceOf({ provider, model }: ModelName): Price | undefined {
  if (FREE_PROVIDERS.has(provider)) return FREE;
  if (provider === "demo") return priceTable.get("demo");
  return priceTable.get(model) ?? priceTable.get(model.replace(VERSION_SUFFIX, ""));
}

function keyOf({ provider, model }: ModelName): string {
  return `${provider}/${model}`;
}

/** Why a limit on money excludes a model: its price is not known, so the limit could not hold. Null: its price is known. */
export function priceError(requested: string, name: ModelName, replaced?: ReplacedPrices): string | null {
  return priceOf(name, replaced) === undefined
    ? `"${requested}" has no known price, so a limit on money (max_total_cost_usd, or a budget) cannot hold: use a model with a price, or let the operator set its price with PUT /scale/model-prices`
    : null;
}

/** A model with a known price, as clients see it. */
type KnownModel = ModelPrice & {
  provider: Provider | null;
  source: "built_in" | "operator";
  replaces_built_in: boolean;
};

/** All models with a known price, by name: the built-in ones, and those that the operator has set. */
export function listPrices(set: readonly ModelPrice[]): KnownModel[] {
  const ofOperator = set.map((price) => {
    const name = parseModelName(price.model);
    const replaces_built_in = name !== null && builtInPriceOf(name) !== undefined;
    return { ...price, provider: name?.provider ?? null, source: "operator" as const, replaces_built_in };
  });
  const replaced = replacedPrices(set);
  const builtIn = [...priceTable].flatMap(([model, price]) => {
    const name: ModelName | null = model === "demo" ? { provider: "demo", model } : parseModelName(model);
    if (name === null || replaced.has(keyOf(name))) return [];
    return [
      {
        model,
        input_usd_per_million: price.input,
        cached_input_usd_per_million: price.cached_input ?? null,
        output_usd_per_million: price.output,
        max_output_tokens: price.max_output ?? null,
        provider: name.provider,
        source: "built_in" as const,
        replaces_built_in: false,
      },
    ];
  });
  return [...builtIn, ...ofOperator].toSorted((a, b) => (a.model < b.model ? -1 : 1));
}
