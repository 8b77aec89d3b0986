/**
 * `npm run bench -- --base REV`, `npm run bench:weight -- --base REV`: installs that revision in a temporary folder and measures
 * both builds in turn, base, new, base, new. Only figures of one such run are compared: the machine is not the same an hour later.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { projectFolder } from "../../local/processes/programs.ts";
import { quantile } from "./stats.ts";

const ROUNDS = 2;
const Report = z.object({
  rows: z.array(z.object({ what: z.string(), figure: z.number().nullable(), unit: z.string() })),
});
type Measured = { unit: string; base: number[]; now: number[] };

type Line = z.infer<typeof Report>["rows"][number];

/**
 * Measures both builds, and prints a line for each figure that one of them has.
 * @param measure measures the build in a folder. Default: with the bench of that build
 */
export async function compareWith(
  revision: string,
  measure: (folder: string) => Promise<readonly Line[]> = ownBench,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "synapse-base-"));
  // Revisions from a51f3821 to 8658c37b do not find their Postgres in a folder that its user cannot enter.
  chmodSync(folder, 0o755);
  try {
    run("git", ["clone", "--quiet", projectFolder, folder], projectFolder);
    run("git", ["checkout", "--quiet", "--detach", commitOf(revision)], folder);
    run("npm", ["ci", "--no-audit", "--no-fund"], folder);
    const figures = new Map<string, Measured>();
    for (let round = 1; round <= ROUNDS; round++) {
      collect(await measure(folder), "base", figures);
      collect(await measure(projectFolder), "now", figures);
    }
    print(revision, figures);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A branch or tag of this clone has another name in a clone of it, a commit has not. */
function commitOf(revision: string): string {
  return execFileSync("git", ["rev-parse", "--verify", `${revision}^{commit}`], {
    cwd: projectFolder,
    encoding: "utf8",
  }).trim();
}

async function ownBench(folder: string): Promise<readonly Line[]> {
  // A bench that finds a bound broken ends with an error after it has written its report.
  run("npm", ["run", "bench"], folder, { mayFail: true });
  return Report.parse(JSON.parse(await readFile(join(folder, "bench.json"), "utf8"))).rows;
}

function collect(rows: readonly Line[], build: "base" | "now", figures: Map<string, Measured>): void {
  let heading = "";
  for (const { what, figure, unit } of rows) {
    // A line that begins with spaces belongs to the line before it, and its name is not unique.
    if (!what.startsWith(" ")) heading = what;
    const name = what.startsWith(" ") ? `${heading}:${what}` : what;
    const measured = figures.get(name) ?? { unit, base: [], now: [] };
    if (figure !== null) measured[build].push(figure);
    figures.set(name, measured);
  }
}

function run(command: string, args: string[], cwd: string, { mayFail = false } = {}): void {
  try {
    execFileSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] });
  } catch (error) {
    if (!mayFail) throw error;
  }
}

function print(revision: string, figures: ReadonlyMap<string, Measured>): void {
  console.log(`\n${"".padEnd(72)}${revision.padStart(22)}${"this build".padStart(22)}   ratio`);
  for (const [what, { unit, base, now }] of figures) {
    const ratio = quantile(now, 0.5) / quantile(base, 0.5);
    const columns = [
      what.slice(0, 70).padEnd(72),
      shown(base),
      shown(now),
      Number.isFinite(ratio) ? ratio.toFixed(2) : "-",
    ];
    console.log(`${columns.join("")} ${unit}`);
  }
}

function shown(rounds: readonly number[]): string {
  return (
    rounds
      .map((figure) => figure.toFixed(2))
      .join(" | ")
      .padStart(22) || "-".padStart(22)
  );
}
