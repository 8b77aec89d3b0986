/**
 * The seed of tests that draw at random. To repeat a failed test, set SYNAPSE_TEST_SEED to the seed that it printed.
 * `.ci/run` sets it from the commit's hash. Without it each run draws another seed.
 */
const text = process.env.SYNAPSE_TEST_SEED;

export const TEST_SEED = text === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(text);
