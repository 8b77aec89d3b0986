/** The Worker's bundle, built once for all test files of a run. */
import { existsSync, mkdirSync } from "node:fs";
import { inject } from "vitest";
import { buildEdge } from "../../local/edge/build.ts";
import { until } from "./waiting.ts";

/** The folder of the built edge. The first file that asks makes the build; files in other processes wait for it. */
export async function builtEdge(): Promise<string> {
  const folder = inject("edgeBuild");
  const done = `${folder}/done`;
  if (mkdirSync(folder, { recursive: true }) !== undefined) {
    await buildEdge(folder);
    mkdirSync(done);
  }
  await until("the edge is built", () => existsSync(done));
  return folder;
}
