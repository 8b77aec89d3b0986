import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { configDefaults, defineConfig } from "vitest/config";
import { LongestFirst } from "./test/services/sequencer.ts";

/** `import source from "./claim.lua" with { type: "text" }`, as Node and the Workers bundler read it. */
const luaAsText = {
  name: "lua-as-text",
  enforce: "pre" as const,
  async load(id: string) {
    return id.endsWith(".lua") ? `export default ${JSON.stringify(await readFile(id, "utf8"))};` : undefined;
  },
};

/**
 * What files of the edge use of the modules of the Workers runtime: the base class of Durable Objects, and sockets.
 */
const runtimeModules = new Map([
  ["cloudflare:workers", "export class DurableObject {}"],
  [
    "cloudflare:sockets",
    `export { connect } from "${fileURLToPath(new URL("test/services/runtime-sockets.ts", import.meta.url))}";`,
  ],
]);

const workersModules = {
  name: "workers-modules",
  resolveId: (id: string) => (runtimeModules.has(id) ? `\0${id}` : undefined),
  load: (id: string) => (id.startsWith("\0") ? runtimeModules.get(id.slice(1)) : undefined),
};

const plugins = [luaAsText, workersModules];

/** Mutants, thousands of histories, and long runs with faults: `npm run test:deep`. */
const deep = ["test/**/*.deep.test.ts", "test/**/mutations.test.ts"];
/** They draw random inputs (test/services/inputs.ts): few of them in `main`, ten times as many in `deep`. */
const drawing = [
  "test/edge/streaming/viewer.test.ts",
  "test/shared/contracts/code.test.ts",
  "test/shared/schedules/cron.test.ts",
  "test/simulation/takeover.test.ts",
];
/** They replace Node's timers and the log by virtual ones, which the next file in the same process must not get. */
const simulation = ["test/simulation/**/*.test.ts"];

const shared = {
  pool: "forks" as const,
  // Loading modules anew for each file would take as long as a third of the tests.
  isolate: false,
  // More than there are cores: the long files wait for processes and clocks most of the time.
  maxWorkers: 8,
  // It only ends a test that would wait for ever: on a machine that other work keeps busy, many take ten times as long as alone.
  testTimeout: 300_000,
  hookTimeout: 300_000,
  // A machine that runs other work too may be seconds late. A condition that never holds still fails.
  expect: { poll: { timeout: 60_000 } },
};

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    // Of the whole run: one Postgres and one Redis, which the tests of all projects use.
    globalSetup: "test/services/setup.ts",
    projects: [
      {
        plugins,
        test: {
          ...shared,
          name: "main",
          include: ["test/**/*.test.ts"],
          exclude: [...configDefaults.exclude, "test/host/**", ...simulation, ...deep],
        },
      },
      {
        plugins,
        test: {
          ...shared,
          name: "main-simulation",
          isolate: true,
          include: simulation,
          exclude: [...configDefaults.exclude, ...deep],
        },
      },
      {
        plugins,
        test: {
          ...shared,
          name: "deep",
          isolate: true,
          include: [...deep, ...drawing],
          env: { SYNAPSE_TEST_DEPTH: "10" },
        },
      },
      // Needs Debian packages beyond what `npm start` needs: `npm run test:host`.
      {
        plugins,
        test: {
          ...shared,
          name: "host",
          include: ["test/host/**/*.test.ts"],
          globalSetup: "test/services/host-packages.ts",
        },
      },
    ],
  },
});
