import { parseModelName } from "./model-name.ts";
import type { Provider } from "./model-name.ts";

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
const OTHERS: { [Name in Provider]?: number } = { ollama: 8_000, "openai-compatible": 32_000 };
const DEFAULT_TOKENS = 128_000;
/** How many characters a token has. English prose has more, but texts of other languages and JSON do not. */
const CHARS_OF_TOKEN = 3;
/** The share of a window that a conversation may fill. The rest is for tools, the answer, and the results of the next tool calls. */
const SHARE = 0.6;

/** The characters of a conversation beyond which it is compacted, by the window of its model. @param model null: the default model */
export function compactAtChars(model: string | null): number {
  const parsed = model === null ? null : parseModelName(model);
  const known = WINDOWS.find(([beginning]) => parsed?.model.startsWith(beginning))?.[1];
  const tokens = known ?? (parsed === null ? undefined : OTHERS[parsed.provider]) ?? DEFAULT_TOKENS;
  return Math.round(tokens * CHARS_OF_TOKEN * SHARE);
}
