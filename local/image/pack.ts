/**
 * `npm run pack:worker`: makes the file tree of the image, which the Dockerfile copies: bundles of the programs, packages that
 * cannot be bundled, the edge's build, and the files that they read. Any user may run the tree, also from a read-only file system.
 */
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { buildEdge, optionsFile } from "../edge/build.ts";
import { projectFolder } from "../processes/programs.ts";
import { bundlePrograms } from "../programs/bundle.ts";
import { copyPackage, optionalPackages } from "./copy-package.ts";

const programs = {
  worker: "worker-node/main.ts",
  "sandbox-thread": "worker-node/engine/sandbox-thread.ts",
  "sql-process": "worker-node/tools/sql/sql-process.ts",
  "redis-rest": "worker-node/redis-rest/main.ts",
  edge: "local/image/serve-edge.ts",
  healthcheck: "local/image/healthcheck.ts",
  migrate: "worker-node/cli/migrate.ts",
  "create-key": "worker-node/cli/create-key.ts",
  "revoke-key": "worker-node/cli/revoke-key.ts",
};

const files = [
  "migrations",
  "edge/assets",
  "local/edge/assets.worker.mjs",
  "local/edge/cron.worker.mjs",
  "LICENSE",
];

async function pack(tree: string): Promise<void> {
  rmSync(tree, { recursive: true, force: true });
  const edgeBuild = join(tree, "edge/build");
  mkdirSync(edgeBuild, { recursive: true });
  await Promise.all([
    bundlePrograms({ programs, folder: "programs", out: join(tree, "programs") }),
    buildEdge(edgeBuild), // makes edge/assets too
  ]);
  await keepVariablesOfConfig(edgeBuild);
  for (const file of files) cpSync(join(projectFolder, file), join(tree, file), { recursive: true });
  copyPackage("quickjs-emscripten", tree);
  // The program workerd is in the package of each platform. The package `workerd` has a second copy in `bin` (144 MB), left out here.
  copyPackage("workerd", tree, ["package.json", "lib"]);
  for (const platform of optionalPackages("workerd")) copyPackage(platform, tree);
  // Of miniflare only the simulators are needed, and the file by which Node resolves the package.
  copyPackage("miniflare", tree, ["package.json", "dist/src/index.js", "dist/src/workers"]);
}

/**
 * Leaves only the variables of wrangler.toml in the build's options, and lets any user read the file. wrangler adds the variables of a
 * developer's `.dev.vars`, among them secrets.
 */
async function keepVariablesOfConfig(edgeBuild: string): Promise<void> {
  const { unstable_readConfig: readConfig } = await import("wrangler");
  const { vars } = readConfig({ config: join(projectFolder, "wrangler.toml") });
  const file = optionsFile(edgeBuild);
  const options = z.looseObject({}).parse(JSON.parse(readFileSync(file, "utf8")));
  writeFileSync(file, JSON.stringify({ ...options, bindings: vars }));
  chmodSync(file, 0o644);
}

const { values } = parseArgs({ options: { out: { type: "string", default: "dist/image" } } });
await pack(resolve(values.out));
console.log(`The image's files are in ${resolve(values.out)}`);
