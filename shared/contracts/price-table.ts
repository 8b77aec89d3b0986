/** Prices in USD for a million tokens, and the most tokens of one answer: see `priceTable`. */
export type Price = {
  input: number;
  cached_input?: number;
  output: number;
  max_output?: number;
  /** The prices of a whole call whose input has more than `tokens`. */
  beyond?: { tokens: number; input: number; cached_input: number; output: number };
  /** The operator has set `max_output`: under a limit on money, calls ask for no more. */
  isCapped?: boolean;
};

/**
 * Prices in USD for a million tokens, as providers list them. The same number is the price of one token in micro-dollars.
 * `cached_input`: input that the provider found in its prompt cache. `max_output`: the most tokens of one answer, thoughts
 * included. `demo`: an invented price for the scripted model.
 */
export const priceTable: ReadonlyMap<string, Price> = new Map(
  Object.entries<Price>({
    "gpt-5": { input: 1.25, cached_input: 0.125, output: 10, max_output: 128_000 },
    "gpt-5-mini": { input: 0.25, cached_input: 0.025, output: 2, max_output: 128_000 },
    "gpt-5-nano": { input: 0.05, cached_input: 0.005, output: 0.4, max_output: 128_000 },
    "gpt-4.1": { input: 2, cached_input: 0.5, output: 8, max_output: 32_768 },
    "gpt-4.1-mini": { input: 0.4, cached_input: 0.1, output: 1.6, max_output: 32_768 },
    "gpt-4.1-nano": { input: 0.1, cached_input: 0.025, output: 0.4, max_output: 32_768 },
    "gpt-4o": { input: 2.5, cached_input: 1.25, output: 10, max_output: 16_384 },
    "gpt-4o-mini": { input: 0.15, cached_input: 0.075, output: 0.6, max_output: 16_384 },
    o3: { input: 2, cached_input: 0.5, output: 8, max_output: 100_000 },
    "o4-mini": { input: 1.1, cached_input: 0.275, output: 4.4, max_output: 100_000 },
    "claude-opus-4-1": { input: 15, cached_input: 1.5, output: 75, max_output: 32_000 },
    "claude-opus-4-5": { input: 5, cached_input: 0.5, output: 25, max_output: 64_000 },
    "claude-sonnet-4": { input: 3, cached_input: 0.3, output: 15, max_output: 64_000 },
    "claude-sonnet-4-5": { input: 3, cached_input: 0.3, output: 15, max_output: 64_000 },
    "claude-haiku-4-5": { input: 1, cached_input: 0.1, output: 5, max_output: 64_000 },
    "claude-3-5-haiku": { input: 0.8, cached_input: 0.08, output: 4, max_output: 8_192 },
    "gemini-2.5-pro": {
      input: 1.25,
      cached_input: 0.125,
      output: 10,
      max_output: 65_536,
      beyond: { tokens: 200_000, input: 2.5, cached_input: 0.25, output: 15 },
    },
    "gemini-2.5-flash": { input: 0.3, cached_input: 0.03, output: 2.5, max_output: 65_536 },
    "gemini-2.5-flash-lite": { input: 0.1, cached_input: 0.01, output: 0.4, max_output: 65_536 },
    "gemini-2.0-flash": { input: 0.1, cached_input: 0.025, output: 0.4, max_output: 8_192 },
    demo: { input: 1, output: 2, max_output: 4_096 },
  }),
);
