/** The Worker's bundle, built once for all test files of a run. */
import { cpSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { inject } from "vitest";
import { buildEdge, readEdgeBuild, type EdgeBuild } from "../../local/edge/build.ts";
import { until } from "./waiting.ts";

/** The built edge. The first test file that calls this makes the build; test files in other processes wait for it. */
export async function builtEdge(): Promise<EdgeBuild> {
  const folder = inject("edgeBuild");
  const done = `${folder}/done`;
  if (mkdirSync(folder, { recursive: true }) !== undefined) {
    await buildEdge(folder);
    mkdirSync(done);
  }
  await until("the edge is built", () => existsSync(done));
  return readEdgeBuild(folder);
}

/** Puts the built edge into the data folder of an `npm start`, which then builds nothing. */
export async function copyBuiltEdge(data: string): Promise<void> {
  await builtEdge();
  cpSync(inject("edgeBuild"), join(data, "build"), { recursive: true });
}
