/** The worker's bundle, as `npm start` and the image run it, built once for all test files of a run. */
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import type { Plugin } from "esbuild";
import { builtProgramFlags, projectFolder } from "../../local/processes/programs.ts";
import { bundlePrograms } from "../../local/programs/bundle.ts";
import { until } from "./waiting.ts";
import { timingFile, type Timing } from "./worker-process.ts";

const programs = {
  worker: "worker-node/main.ts",
  "sandbox-thread": "worker-node/engine/sandbox-thread.ts",
};
/** What a bundle finds by its place. */
const besides = ["migrations", "node_modules"];

/**
 * The arguments of a Node process that runs the built worker. It takes half the processor time of one that runs the sources. The
 * first test file that asks for a timing makes its build; test files in other processes wait for it.
 */
export async function builtWorker(timing: Timing): Promise<string[]> {
  const tree = join(inject("workerBuilds"), timing);
  const done = join(tree, "done");
  if (mkdirSync(tree, { recursive: true }) !== undefined) {
    for (const name of besides) symlinkSync(join(projectFolder, name), join(tree, name));
    const plugins = timing === "real" ? [] : [withTiming(timing)];
    await bundlePrograms({ programs, folder: "programs", out: join(tree, "programs"), plugins });
    mkdirSync(done);
  }
  await until(`the worker with the timing ${timing} is built`, () => existsSync(done));
  return [...builtProgramFlags, join(tree, "programs/worker.mjs")];
}

/** Replaces `shared/timing.ts`, except for the module that stands in for it. */
function withTiming(timing: Exclude<Timing, "real">): Plugin {
  const real = join(projectFolder, "shared/timing.ts");
  const replacement = timingFile(timing);
  return {
    name: "timing",
    setup({ onResolve, resolve }) {
      onResolve({ filter: /\/timing\.ts$/ }, async ({ path, importer, resolveDir, kind, pluginData }) => {
        if (pluginData === "timing") return undefined;
        const resolved = await resolve(path, { importer, resolveDir, kind, pluginData: "timing" });
        return resolved.path === real && importer !== replacement ? { path: replacement } : resolved;
      });
    },
  };
}
