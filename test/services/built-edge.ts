/** The Worker's bundle, built once for all test files of a run. */
import { cpSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import { buildEdge, readEdgeBuild, type EdgeBuild } from "../../local/edge/build.ts";
import { builtOnce } from "./built-once.ts";
import { untilProgramsAreBuilt } from "./built-worker.ts";

/** The built edge. The first test file that calls this makes the build. */
export async function builtEdge(): Promise<EdgeBuild> {
  const folder = inject("edgeBuild");
  await builtOnce(folder, async () => void (await buildEdge(folder)));
  return readEdgeBuild(folder);
}

/** Builds the programs of `npm start`, and copies the built edge into its data folder: `npm start` then builds nothing. */
export async function copyBuiltEdge(data: string): Promise<void> {
  await Promise.all([builtEdge(), untilProgramsAreBuilt()]);
  cpSync(inject("edgeBuild"), join(data, "build"), { recursive: true });
}
