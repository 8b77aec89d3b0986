import { readFile } from "node:fs/promises";
import { configDefaults, defineConfig } from "vitest/config";

/** `import source from "./claim.lua" with { type: "text" }`, as Node and the Workers bundler read it. */
const luaAsText = {
  name: "lua-as-text",
  enforce: "pre" as const,
  async load(id: string) {
    return id.endsWith(".lua") ? `export default ${JSON.stringify(await readFile(id, "utf8"))};` : undefined;
  },
};

const shared = {
  pool: "forks" as const,
  // More than there are cores: most files wait for processes and clocks most of the time.
  maxWorkers: 3,
  globalSetup: "test/services/setup.ts",
  testTimeout: 20_000,
  hookTimeout: 60_000,
  // A machine that runs other tests too may be seconds late; what never comes is red all the same.
  expect: { poll: { timeout: 10_000 } },
};

export default defineConfig({
  test: {
    projects: [
      {
        plugins: [luaAsText],
        test: {
          ...shared,
          name: "main",
          include: ["test/**/*.test.ts"],
          exclude: [...configDefaults.exclude, "test/host/**"],
        },
      },
      // Needs Debian packages beyond what `npm start` needs: `npm run test:host`.
      {
        plugins: [luaAsText],
        test: {
          ...shared,
          name: "host",
          include: ["test/host/**/*.test.ts"],
          globalSetup: ["test/services/host-packages.ts", shared.globalSetup],
        },
      },
    ],
  },
});
