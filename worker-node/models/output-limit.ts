import type { ModelName } from "../../shared/contracts/model-name.ts";

/** The longest answer of a model without a known limit of its own, in tokens. */
export const UNKNOWN_MAX_OUTPUT = 32_768;

/**
 * The limit of an answer where the SDK knows none; undefined: it knows one, or needs none. Anthropic's form demands a limit, and its package
 * takes 4,096 for models other than Claude's, which ends their answers early (vercel/ai #17588).
 */
export function outputLimitOf({ provider, model }: ModelName): number | undefined {
  return provider === "anthropic" && !model.includes("claude-") ? UNKNOWN_MAX_OUTPUT : undefined;
}
