import { parseModelName } from "./model-name.ts";
import type { ModelName, Provider } from "./model-name.ts";

/** Tokens that models take in one request, by the beginning of their names: the first line that fits counts. */
const WINDOWS: readonly [beginning: string, tokens: number][] = [
  ["gpt-4.1", 1_000_000],
  ["gpt-4o", 128_000],
  ["gpt-5", 400_000],
  ["o3", 200_000],
  ["o4", 200_000],
  ["claude", 200_000],
  ["gemini", 1_000_000],
];
/** The tokens of a model with another name, by provider: models on self-hosted servers are often small. */
const OTHERS: { [Name in Provider]?: number } = { "openai-compatible": 32_000 };
const DEFAULT_TOKENS = 128_000;
/**
 * Ollama gives each model this window on a machine with less than 24 GiB of video memory, however large the model's own is, and leaves out
 * the beginning of what is longer without an error (docs.ollama.com/context-length). The models that it serves itself have their own.
 */
const OLLAMA_TOKENS = 4_096;
const OLLAMA_CLOUD = /[:-]cloud$/;
/**
 * The fewest bytes of text (UTF-8) that a token has in nearly every language, so that an estimate by them is rarely too low: English prose
 * has more, and most characters of Chinese and Japanese are a token each, of three bytes.
 */
export const BYTES_OF_TOKEN = 3;
/** The share of a window that a conversation may fill. The rest is for tools, the answer, and the results of the next tool calls. */
const SHARE = 0.6;

/**
 * The tokens that a model takes in one request. What the operator has set for it comes first.
 * @param name as definitions name the model
 * @param setFor what the operator has set; null: nothing
 */
export async function windowTokens(
  name: string,
  setFor: (name: ModelName) => Promise<number | null>,
): Promise<number> {
  const parsed = parseModelName(name);
  return parsed === null ? DEFAULT_TOKENS : ((await setFor(parsed)) ?? estimatedTokens(parsed));
}

function estimatedTokens({ provider, model }: ModelName): number {
  if (provider === "ollama" && !OLLAMA_CLOUD.test(model)) return OLLAMA_TOKENS;
  // Gateways put the vendor before the name: anthropic/claude-sonnet-4-5.
  const own = model.slice(model.lastIndexOf("/") + 1);
  const known = WINDOWS.find(([beginning]) => own.startsWith(beginning))?.[1];
  return known ?? OTHERS[provider] ?? DEFAULT_TOKENS;
}

/** The bytes of a conversation beyond which it is compacted, by the window of its model. */
export function compactAtBytes(tokens: number): number {
  return Math.round(tokens * BYTES_OF_TOKEN * SHARE);
}
