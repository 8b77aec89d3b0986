import { modelOf, parseModelName } from "../../shared/contracts/model-name.ts";
import { priceError, priceOf, pricesAt, replacedPrices } from "../../shared/contracts/model-price.ts";
import type { ModelName } from "../../shared/contracts/model-name.ts";
import { BYTES_OF_TOKEN } from "../../shared/contracts/model-window.ts";
import type { ModelPrice, ReplacedPrices } from "../../shared/contracts/model-price.ts";
import type { ModelRequest } from "../engine/ports.ts";
import { countImages, sentBytes } from "./call-usage.ts";
import { FreshCopy } from "./fresh-copy.ts";
import { UNKNOWN_MAX_OUTPUT } from "./output-limit.ts";

/** Providers count an image by its size in pixels. Few models count more tokens for one. */
const MOST_IMAGE_TOKENS = 5_000;

/**
 * What a model call may cost at most, in micro-dollars. `maxOutputTokens`: the most tokens that the call must ask for, where the
 * operator has set them.
 */
export type Quote = { cost: number; maxOutputTokens?: number };

/** The prices of models, with those that the operator has replaced. A change acts within 5 s while Postgres answers. */
export class Prices {
  readonly #copy: FreshCopy<ReplacedPrices>;
  readonly #defaultModel: () => string;

  constructor(read: () => Promise<ModelPrice[]>, defaultModel: () => string) {
    this.#copy = new FreshCopy("prices", new Map(), async () => replacedPrices(await read()));
    this.#defaultModel = defaultModel;
  }

  get replaced(): ReplacedPrices {
    return this.#copy.value;
  }

  /** Reads the prices again when they are old. Never throws: without Postgres the last known prices hold. */
  refresh(): Promise<void> {
    return this.#copy.refresh();
  }

  /** The provider and the model that are called for this name (null: the default one); null: it names none. */
  nameOf(model: string | null): ModelName | null {
    return parseModelName(modelOf(model) ?? this.#defaultModel());
  }

  /** Why a limit on money refuses this model (null: the default one): it has no known price. Null: it has one, or names no model. */
  errorOf(model: string | null): string | null {
    const requested = modelOf(model) ?? this.#defaultModel();
    const name = parseModelName(requested);
    return name === null ? null : priceError(requested, name, this.replaced);
  }

  /** What a call may cost; null: its model has no known price. */
  quote(request: Pick<ModelRequest, "model" | "messages" | "tools">): Quote | null {
    const name = parseModelName(request.model ?? this.#defaultModel());
    const price = name === null ? undefined : priceOf(name, this.replaced);
    if (price === undefined) return null;
    const textTokens = sentBytes(request) / BYTES_OF_TOKEN;
    const tokens = textTokens + countImages(request) * MOST_IMAGE_TOKENS;
    const { input, output } = pricesAt(price, tokens);
    const maxOutput = price.max_output ?? UNKNOWN_MAX_OUTPUT;
    return {
      cost: Math.ceil(tokens * input + maxOutput * output),
      ...(price.isCapped === true ? { maxOutputTokens: maxOutput } : {}),
    };
  }
}
