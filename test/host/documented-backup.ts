/** The settings and commands of docs/operations.md that back Postgres up and restore it, with folders of the test in place of `/backup`. */
import { spawn } from "node:child_process";
import { appendFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectFolder } from "../../local/processes/programs.ts";
import type { DebianPostgres } from "./debian-postgres.ts";

const document = readFileSync(join(projectFolder, "docs/operations.md"), "utf8");

/** The one block of code below a heading that has this text, without comments. `folder` takes the place of `/backup`. */
export function documentedBlock(heading: string, text: string, folder: string): string {
  const section = document.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0] ?? "";
  const blocks = [...section.matchAll(/^ *```sh\n(.*?)^ *```/gms)].map(([, block = ""]) => block);
  const [found, ...others] = blocks.filter((block) => block.includes(text));
  if (found === undefined || others.length > 0)
    throw new Error(`"${heading}" has ${found ? "several blocks" : "no block"} with ${text}`);
  return found.replace(/^ +/gm, "").replaceAll("/backup/", `${folder}/`);
}

/** Appends settings to the configuration of a server that does not run. */
export function configure(data: string, settings: string): void {
  appendFileSync(join(data, "postgresql.conf"), `\n${settings}\n`);
}

/** Runs a command in a shell, as the user of Postgres. @returns its exit code and what it wrote to stderr */
export async function shell(
  { bin, user }: DebianPostgres,
  command: string,
  env: Record<string, string> = {},
): Promise<{ code: number | null; stderr: string }> {
  const path = `${bin}:${process.env["PATH"] ?? ""}`;
  const child = spawn("/bin/sh", ["-ec", command], { ...user, cwd: "/", env: { ...env, PATH: path } });
  let stderr = "";
  child.stderr.on("data", (bytes) => (stderr += String(bytes)));
  const { promise, resolve } = Promise.withResolvers<number | null>();
  child.once("exit", resolve);
  return { code: await promise, stderr };
}
