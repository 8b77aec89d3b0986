import type { TenantId } from "../../shared/contracts/ids.ts";
import type { CallProvider } from "./call-provider.ts";

/** The settings of the providers, under their usual names. */
export type ModelEnv = {
  OPENAI_API_KEY?: string | undefined;
  OPENAI_BASE_URL?: string | undefined;
  ANTHROPIC_API_KEY?: string | undefined;
  ANTHROPIC_BASE_URL?: string | undefined;
  GOOGLE_GENERATIVE_AI_API_KEY?: string | undefined;
  GEMINI_API_KEY?: string | undefined;
  GOOGLE_BASE_URL?: string | undefined;
  OLLAMA_BASE_URL?: string | undefined;
  OPENAI_COMPATIBLE_BASE_URL?: string | undefined;
  OPENAI_COMPATIBLE_API_KEY?: string | undefined;
  DEFAULT_MODEL?: string | undefined;
};

/**
 * How a call reaches its provider: the settings, and the requests that use them. `own`: the key of a tenant; null: the operator's.
 * `withoutToolChoice`: models whose server there refuses a forced tool choice and takes the same request without. `withoutTools`: those
 * that take no tools. `withoutFields`: those that refuse a field which they could do without, and the names of these (`refused-fields.ts`).
 */
export type ModelAccess = {
  env: ModelEnv;
  call: CallProvider;
  own: { tenant: TenantId; apiKey: string } | null;
  withoutToolChoice: Set<string>;
  withoutTools: Set<string>;
  withoutFields: Map<string, ReadonlySet<string>>;
};
