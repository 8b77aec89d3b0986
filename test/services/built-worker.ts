/** The programs that `npm start` and the image run, and the worker with other durations, built once for all test files of a run. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { linkSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import { build, type Plugin } from "esbuild";
import { builtProgramFlags, projectFolder } from "../../local/processes/programs.ts";
import { buildPrograms } from "../../local/programs/build.ts";
import { bundlePrograms } from "../../local/programs/bundle.ts";
import { builtOnce } from "./built-once.ts";
import { timingFile, type Timing } from "./worker-process.ts";

const programs = {
  worker: "worker-node/main.ts",
  "sandbox-thread": "worker-node/engine/sandbox-thread.ts",
  "sql-process": "worker-node/tools/sql/sql-process.ts",
};
/** What a bundle looks for beside its own folder. */
const besides = ["migrations", "node_modules"];
/**
 * Nothing reads the stacks of these workers, and the maps of a bundle take a tenth of the processor time of a start. Nor do they live long
 * enough to free the memory of their start.
 */
const flags = builtProgramFlags("worker-node/main.ts").filter(
  (flag) => !["--enable-source-maps", "--expose-gc"].includes(flag),
);

/** The programs of `npm start` are built from the present sources. Without this each `npm start` of a test builds them. */
export function untilProgramsAreBuilt(): Promise<void> {
  return builtOnce(join(inject("workerBuilds"), "programs"), buildPrograms);
}

/**
 * The arguments of a Node process that runs the built worker. It takes half the processor time of one that runs the sources.
 * The workers are one bundle, with a module of durations beside it. They are not the programs of `npm start`, which a test may build anew.
 */
export async function builtWorker(timing: Timing): Promise<string[]> {
  const [bundle, tree] = [join(inject("workerBuilds"), "bundle"), join(inject("workerBuilds"), timing)];
  const worker = join(tree, "programs/worker.mjs");
  await builtOnce(bundle, () =>
    bundlePrograms({ programs, folder: "programs", out: join(bundle, "programs"), plugins: [timingBeside] }),
  );
  await builtOnce(tree, async () => {
    for (const name of besides) symlinkSync(join(projectFolder, name), join(tree, name));
    const folder = join(tree, "programs");
    mkdirSync(folder);
    for (const name of readdirSync(join(bundle, "programs")))
      linkSync(join(bundle, "programs", name), join(folder, name));
    const outfile = join(folder, "timing.mjs");
    const durations = timing === "real" ? join(projectFolder, "shared/timing.ts") : timingFile(timing);
    await build({ entryPoints: [durations], outfile, bundle: true, format: "esm" });
    // Without variables it only loads its modules, and leaves their compiled code in Node's cache: a worker that is killed leaves none.
    const { NODE_COMPILE_CACHE } = process.env;
    const child = spawn(process.execPath, [...flags, worker], {
      env: { NODE_COMPILE_CACHE },
      stdio: "ignore",
    });
    await once(child, "exit");
  });
  return [...flags, worker];
}

/** Leaves `shared/timing.ts` out of a bundle, which imports `timing.mjs` from its own folder instead. */
const timingBeside: Plugin = {
  name: "timing-beside",
  setup({ onResolve, resolve }) {
    onResolve({ filter: /\/timing\.ts$/ }, async ({ path, importer, resolveDir, kind, pluginData }) => {
      if (pluginData === "timing") return undefined;
      const resolved = await resolve(path, { importer, resolveDir, kind, pluginData: "timing" });
      const isDurations = resolved.path === join(projectFolder, "shared/timing.ts");
      return isDurations ? { path: "./timing.mjs", external: true } : resolved;
    });
  },
};
