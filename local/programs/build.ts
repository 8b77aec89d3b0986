/**
 * The programs of `npm start` as bundles, in node_modules/.cache/programs.
 *
 * A Node process that runs the sources has the type stripper and every module of its packages in memory: 120 to 140 MB. From a
 * bundle it has only the modules that it uses: 60 to 80 MB, and it starts in a third of the time. A bundle has a source map, so that
 * the stacks of errors name the sources.
 */
import { readdirSync, utimesSync } from "node:fs";
import { join, parse, relative } from "node:path";
import { isNewerThan } from "../processes/is-newer.ts";
import { builtPrograms, programsFolder, projectFolder } from "../processes/programs.ts";
import { bundlePrograms } from "./bundle.ts";

/** Everything in edge/ but its assets: the build of the edge, which comes later, writes them, and no program reads them. */
const edgeFolders = readdirSync(join(projectFolder, "edge"))
  .filter((name) => name !== "assets")
  .map((name) => join("edge", name));
const sources = [...edgeFolders, "local", "shared", "worker-node", "package-lock.json"].map((name) =>
  join(projectFolder, name),
);

/** The file whose time of modification is the time of the build. */
const stamp = join(programsFolder, builtPrograms["local/run.ts"]);

/**
 * Builds the programs when a source is newer than the last build.
 * @throws Error with esbuild's messages
 */
export async function buildPrograms(): Promise<void> {
  if (isNewerThan(stamp, sources)) return;
  const startedMs = Date.now();
  await bundlePrograms({
    programs: Object.fromEntries(
      Object.entries(builtPrograms).map(([source, built]) => [parse(built).name, source]),
    ),
    folder: relative(projectFolder, programsFolder),
    out: programsFolder,
  });
  // A source that was saved during the build is newer than the build.
  utimesSync(stamp, startedMs / 1_000, startedMs / 1_000);
}
