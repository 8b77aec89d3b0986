/**
 * The seed of tests that draw at random. To repeat a failed test, set SYNAPSE_TEST_SEED to the seed that it printed.
 * `.ci/run` sets a fixed one. Without it each run draws another seed.
 */
const text = process.env.SYNAPSE_TEST_SEED;

export const TEST_SEED = text === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(text);
