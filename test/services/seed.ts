/**
 * The seed of tests that draw at random. SYNAPSE_TEST_SEED repeats what a failed test printed; `.ci/run` sets it from the
 * commit's hash. Without it each run draws another one.
 */
const text = process.env.SYNAPSE_TEST_SEED;

export const TEST_SEED = text === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(text);
