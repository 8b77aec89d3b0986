/**
 * How many random inputs a test draws: `few` in `npm test`, and ten times as many in `npm run test:deep`, which also has the files
 * that call this (vitest.config.ts). Each run draws others (`TEST_SEED`), so many short runs see as much as one long one.
 */
export function inputs(few: number): number {
  return few * Number(process.env.SYNAPSE_TEST_DEPTH ?? 1);
}
