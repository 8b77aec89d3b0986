import { z } from "zod";
import { parseModelName } from "./model-name.ts";
import type { ModelName } from "./model-name.ts";

const Limit = z.number().int().min(1).max(100_000_000).nullable().default(null);

/** The limits that an operator sets for the calls of all workers together to a model. Null: no limit. */
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
  })
  .meta({ id: "ProviderLimit" });
export type ProviderLimit = z.infer<typeof ProviderLimit>;

/** The provider and the model of a limit; null: the name determines none, or the provider is the demo, which is none. */
export function providerModelOf(name: string): ModelName | null {
  const parsed = /[\s\p{Cc}]/u.test(name) ? null : parseModelName(name);
  return parsed?.provider === "demo" ? null : parsed;
}
