import { z } from "zod";

/**
 * A whole number in a query, in decimal digits alone. `Number` also reads `0x10`, `1e1`, `+5`, ` 5`, `5.0` and an empty text: a
 * client that sends one of them has made a mistake, and would get another page than it means.
 */
export const queryInteger = (least: number, most: number) => {
  const sentence = `must be a whole number from ${least} to ${most}, in decimal digits`;
  const number = z.number({ error: ({ code }) => (code === "invalid_type" ? sentence : undefined) });
  return z.preprocess(readDigits, number.int().min(least).max(most));
};

/** What is not digits stays a text, which the schema of the number refuses. */
function readDigits(value: unknown): unknown {
  return typeof value === "string" && /^[0-9]+$/.test(value) ? Number(value) : value;
}
