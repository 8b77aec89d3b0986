/** The Worker's bundle, built once for all test files of a run. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
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

/**
 * Time limits of the edge, in milliseconds: of a submitted run and of a read in Postgres, of a login and the probe of a connection, and of
 * a request that makes a call for others and may have left.
 */
export type EdgeLimits = Partial<
  Record<
    "ACCEPT_MS" | "POSTGRES_READ_MS" | "POSTGRES_CONNECT_MS" | "CONNECT_MS" | "PROBE_MS" | "LEADER_GONE_MS",
    number
  >
>;

/**
 * The built edge with other time limits. When a limit is longer than any machine is slow, a test tells an edge that goes on by itself
 * from an edge that waits for the limit, and no request fails because the machine is slow.
 */
export async function edgeWithLimits(folder: string, limits: EdgeLimits): Promise<EdgeBuild> {
  const { script, options } = await builtEdge();
  let text = readFileSync(script, "utf8");
  for (const [name, ms] of Object.entries(limits)) {
    const constant = new RegExp(`^var ${name} = .*;$`, "gm");
    if (text.match(constant)?.length !== 1) throw new Error(`the bundle does not have ${name} once`);
    text = text.replace(constant, `var ${name} = ${ms};`);
  }
  const changed = join(folder, "edge.js");
  writeFileSync(changed, text);
  return { script: changed, options };
}

/** Builds the programs of `npm start`, and copies the built edge into its data folder: `npm start` then builds nothing. */
export async function copyBuiltEdge(data: string): Promise<void> {
  await Promise.all([builtEdge(), untilProgramsAreBuilt()]);
  cpSync(inject("edgeBuild"), join(data, "build"), { recursive: true });
}
