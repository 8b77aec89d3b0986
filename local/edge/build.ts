/**
 * The Worker's bundle and the bindings of wrangler.toml, in one folder.
 *
 * wrangler takes seconds to load, so it runs only when a source file is newer than the last build. As a program
 * (`build.ts <wrangler.toml> <folder>`) this file makes a build. As a module it runs that program when a build is needed.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { z } from "zod";
import { startProcess } from "../processes/child.ts";
import { isNewerThan } from "../processes/is-newer.ts";
import { nodeProgram, projectFolder } from "../processes/programs.ts";

export const S3Keys = z.object({ accessKeyId: z.string(), secretAccessKey: z.string() });

/** The options of wrangler.toml that workerd's configuration needs. */
const WorkerOptions = z.object({
  compatibilityDate: z.string(),
  compatibilityFlags: z.array(z.string()).default([]),
  bindings: z.record(z.string(), z.json()).default({}),
  hyperdrives: z.record(z.string(), z.unknown()).default({}),
  r2Buckets: z
    .record(z.string(), z.looseObject({ id: z.string(), s3Credentials: S3Keys.optional() }))
    .default({}),
  durableObjects: z.record(z.string(), z.object({ className: z.string() })).default({}),
  ratelimits: z
    .record(
      z.string(),
      z.object({ namespace_id: z.string(), simple: z.object({ limit: z.int(), period: z.int() }) }),
    )
    .default({}),
});

/** `script`: the path of the bundle. `options`: the Worker's bindings, compatibility date and compatibility flags. */
export type EdgeBuild = { script: string; options: z.infer<typeof WorkerOptions> };

/** The files that a build depends on. */
export type EdgeSources = { config: string; folders: string[] };

export const edgeSources: EdgeSources = {
  config: join(projectFolder, "wrangler.toml"),
  folders: ["edge", "shared", "package-lock.json"].map((name) => join(projectFolder, name)),
};

/**
 * Returns the build in `folder`, after a new build when a source file is newer.
 * @throws Error with wrangler's output when the bundle cannot be built
 */
export async function buildEdge(folder: string, sources: EdgeSources = edgeSources): Promise<EdgeBuild> {
  const { config, folders } = sources;
  if (!isNewerThan(optionsFile(folder), [config, ...folders])) await runBuild(folder, sources);
  return readEdgeBuild(folder);
}

/** The build in `folder`, also when a source file is newer. */
export function readEdgeBuild(folder: string): EdgeBuild {
  const options = WorkerOptions.parse(JSON.parse(readFileSync(optionsFile(folder), "utf8")));
  return { script: join(folder, "main.js"), options };
}

/** The environment in which wrangler prints little, uses no network and writes no file into the user's home. */
export const wranglerEnvironment = {
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_SEND_ERROR_REPORTS: "false",
  WRANGLER_HIDE_BANNER: "true",
  WRANGLER_WRITE_LOGS: "false",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  CI: "1",
  NO_COLOR: "1",
};

/** The file of wrangler itself: the wrapper that npm links as `wrangler` does not forward signals. The image has no wrangler. */
export function wranglerFile(): string {
  return createRequire(import.meta.url).resolve("wrangler");
}

async function runBuild(folder: string, { config }: EdgeSources): Promise<void> {
  const command = nodeProgram("local/edge/build.ts", wranglerEnvironment);
  const child = startProcess({ ...command, args: [...command.args, config, folder] }, null, "SIGTERM");
  const output: string[] = [];
  for (const from of [child.stdout, child.stderr]) from?.on("data", (bytes) => output.push(String(bytes)));
  const [code] = await once(child, "exit", { signal: AbortSignal.timeout(60_000) });
  if (code !== 0) throw new Error(`The edge could not be built:\n${output.join("")}`);
}

/** The file of a build that holds its options. */
export function optionsFile(folder: string): string {
  return join(folder, "options.json");
}

async function makeBuild(config: string, folder: string): Promise<void> {
  const bundling = spawn(
    process.execPath,
    [wranglerFile(), "deploy", "--dry-run", "--outdir", folder, "--config", config],
    { stdio: "inherit" },
  );
  const ended = once(bundling, "exit");
  const { unstable_getMiniflareWorkerOptions: optionsOf } = await import("wrangler");
  // A placeholder, without which wrangler refuses to read the binding. Every start replaces it by the real address.
  process.env.CLOUDFLARE_HYPERDRIVE_LOCAL_CONNECTION_STRING_HYPERDRIVE =
    "postgres://user:password@127.0.0.1:5432/database";
  const options = WorkerOptions.parse(optionsOf(config).workerOptions);
  const [code] = await ended;
  if (code !== 0) process.exit(1);
  // Written last, because its time is the time of the build. Private, because it may hold the secrets of .dev.vars.
  writeFileSync(optionsFile(folder), JSON.stringify(options), { mode: 0o600 });
}

if (import.meta.main) {
  const [config, folder] = process.argv.slice(2);
  if (config === undefined || folder === undefined)
    throw new Error("usage: build.ts <wrangler.toml> <folder>");
  await makeBuild(resolve(config), resolve(folder));
}
