import { z } from "zod";
import { sealedPlace } from "../security/seal.ts";
import { MASK } from "./definition/tool-secrets.ts";
import type { Provider } from "./model-name.ts";

const NAMES = ["openai", "anthropic", "google", "openai-compatible"] as const satisfies readonly Provider[];

/** The providers that take an API key of a tenant. */
export const KeyProvider = z.enum(NAMES, { error: `must be one of ${NAMES.join(", ")}` });
export type KeyProvider = z.infer<typeof KeyProvider>;

/** The body of a request that saves the key of a tenant at a provider. */
export const ProviderKeyRequest = z
  .object({
    api_key: z
      .string()
      .max(4_096)
      .regex(/^[\x21-\x7e]+$/, "must be the provider's API key: visible ASCII characters, without spaces")
      .refine((key) => key !== MASK, "is a mask: send the key itself")
      .describe("Sealed for the tenant and the provider, and never shown"),
    base_url: z
      .url({
        protocol: /^https?$/,
        error: "must be an http or https URL such as https://models.example.com/v1",
      })
      .max(2_048)
      .nullable()
      .default(null)
      .describe(
        "Where the provider's API is, a gateway for example; null: at the provider's own address. `openai-compatible` has none of its own",
      ),
  })
  .meta({ id: "ProviderKeyRequest" });

/** The place for which the key of a tenant at a provider is sealed. */
export function providerKeyPlace(tenant: string, provider: string): string {
  return sealedPlace(`provider-key/${tenant}/${provider}`, "api_key");
}
