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
/** A model of another name. Models behind servers of one's own are often small. */
const OTHERS: { [Name in Provider]?: number } = { ollama: 8_000, "openai-compatible": 32_000 };
const DEFAULT_TOKENS = 128_000;
/** Of a text in any language and of JSON, which have fewer characters to a token than English prose. */
const CHARS_OF_TOKEN = 3;
/** The rest is for tools, the answer, and what the next calls of tools return. */
const SHARE = 0.6;

/** The characters of a conversation beyond which it is made shorter, by the window of its model. Null: the default model. */
export function compactAtChars(model: string | null): number {
  const parsed = model === null ? null : parseModelName(model);
  const known = WINDOWS.find(([beginning]) => parsed?.model.startsWith(beginning))?.[1];
  const tokens = known ?? (parsed === null ? undefined : OTHERS[parsed.provider]) ?? DEFAULT_TOKENS;
  return Math.round(tokens * CHARS_OF_TOKEN * SHARE);
}
