/** The peers' packages. They are no dependencies of this project: the first `npm run bench:peers` installs them in a folder of their own. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { projectFolder } from "../../../local/processes/programs.ts";

/** Every package of every peer, with its exact version. */
export const VERSIONS = {
  bullmq: "6.7.0",
  ioredis: "6.0.0",
  "pg-boss": "12.38.0",
  "graphile-worker": "0.18.0",
  "@dbos-inc/dbos-sdk": "5.3.0",
  "@restatedev/restate-sdk": "1.17.2",
  "@restatedev/restate-server": "1.7.12",
} as const;

const folder = join(projectFolder, "node_modules/.cache/peers");
const manifestFile = join(folder, "package.json");
/** npm writes it at the end of an install. */
const installedFile = join(folder, "node_modules/.package-lock.json");

/**
 * Installs the packages, unless these versions are installed. Their install scripts do not run: none of them needs its
 * script, and one reports the install to its vendor.
 */
export function installPeers(): void {
  const manifest = `${JSON.stringify({ private: true, type: "module", dependencies: VERSIONS }, null, 2)}\n`;
  const isCurrent = existsSync(manifestFile) && readFileSync(manifestFile, "utf8") === manifest;
  if (isCurrent && existsSync(installedFile)) return;
  console.log(`Installing the peers in ${folder} …`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(manifestFile, manifest);
  execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: folder,
    stdio: "inherit",
  });
}

/**
 * Imports a peer's package.
 * @param exports a schema of the exports that the caller uses: a peer's package cannot be imported by its name from this
 * project, so the compiler does not know its types
 * @throws ZodError when the package does not export them
 */
export async function importPeer<Exports>(
  name: keyof typeof VERSIONS,
  exports: z.ZodType<Exports>,
): Promise<Exports> {
  const entry = join(folder, `import-${name.replaceAll(/[@/]/g, "-")}.mjs`);
  writeFileSync(entry, `export * from ${JSON.stringify(name)};\n`);
  const loaded: unknown = await import(pathToFileURL(entry).href);
  return exports.parse(loaded);
}

/** A function or class of a package, as this project describes it. */
export function exported<Value>(): z.ZodType<Value> {
  return z.custom<Value>((value) => typeof value === "function");
}

/** A program of a package. @param path its place below the package's folder, or below that of another package */
export function peerProgram(path: string): string {
  return join(folder, "node_modules", path);
}
