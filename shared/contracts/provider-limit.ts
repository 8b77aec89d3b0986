import { z } from "zod";
import { parseModelName } from "./model-name.ts";
import type { ModelName } from "./model-name.ts";

const Limit = z.number().int().min(1).max(100_000_000).nullable().default(null);

/** What an operator sets for a model: the limits of the calls of all workers together (null: no limit), and its window. */
export const ProviderLimit = z
  .object({
    /** `provider/model`; `provider/*`: each model of the provider without a limit of its own. */
    model: z
      .string()
      .max(200)
      .refine(
        (name) => providerModelOf(name) !== null,
        "must be provider/model, or provider/*, without spaces, and of a provider that is called: demo is none",
      ),
    max_concurrent: Limit,
    requests_per_minute: Limit,
    tokens_per_minute: Limit,
    /**
     * The tokens that the model takes in one request; null: they are estimated by its name. It holds for calls with keys of tenants too.
     */
    context_tokens: z.number().int().min(512).max(100_000_000).nullable().default(null),
  })
  .meta({ id: "ProviderLimit" });
export type ProviderLimit = z.infer<typeof ProviderLimit>;

/** The provider and the model of a limit; null: the name determines none, or the provider is the demo, which is none. */
export function providerModelOf(name: string): ModelName | null {
  const parsed = /[\s\p{Cc}]/u.test(name) ? null : parseModelName(name);
  return parsed?.provider === "demo" ? null : parsed;
}
