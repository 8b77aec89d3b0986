import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import type { Service } from "../../local/processes/child.ts";
import { nodeProgram, projectFolder, startProgram } from "../../local/processes/programs.ts";
import { startDebianPostgres } from "./debian-postgres.ts";

let debian: Service & { major: number };
beforeAll(async () => {
  debian = await startDebianPostgres();
});
afterAll(() => debian.stop());

const Report = z.object({
  numPassedTests: z.int(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string(),
      assertionResults: z.array(
        z.object({ fullName: z.string(), status: z.string(), failureMessages: z.array(z.string()) }),
      ),
    }),
  ),
});

/** Runs these files of the project `main` on another Postgres. */
async function runSuite(files: string[], postgresUrl: string): Promise<z.infer<typeof Report>> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-suite-"));
  const report = join(dir, "report.json");
  // Without the variables by which a process knows that it belongs to this run of vitest.
  const vitestVariables = Object.keys(process.env).filter((name) => /^VITEST|^TEST$|^NODE_ENV$/.test(name));
  const env = Object.fromEntries(vitestVariables.map((name) => [name, undefined]));
  const vitest = nodeProgram("node_modules/vitest/vitest.mjs", {
    ...env,
    SYNAPSE_TEST_POSTGRES_URL: postgresUrl,
  });
  const flags = ["run", "--project", "main", "--reporter=json", `--outputFile=${report}`, ...files];
  const suite = startProgram("suite", { ...vitest, args: [...vitest.args, ...flags] });
  try {
    const { promise, resolve } = Promise.withResolvers<void>();
    suite.child.once("exit", () => resolve());
    await promise;
    if (!existsSync(report)) throw new Error("the suite could not start: its last lines above say why");
    return Report.parse(JSON.parse(readFileSync(report, "utf8")));
  } finally {
    await suite.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

test("the store's tests and a run from end to end pass on Debian's older Postgres", async () => {
  expect(debian.major).toBeLessThan(18);
  const { numPassedTests, testResults } = await runSuite(
    ["test/shared/store/", "test/flow/run.test.ts"],
    debian.url,
  );
  const failed = testResults.flatMap(({ name, status, message, assertionResults }) => {
    const tests = assertionResults.filter((result) => result.status !== "passed");
    if (status === "failed" && tests.length === 0) return [`${name}: ${message}`];
    return tests.map((result) => `${result.fullName}: ${result.status} ${result.failureMessages.join("\n")}`);
  });
  expect(failed).toEqual([]);
  expect(numPassedTests).toBeGreaterThan(0);
  const folders = testResults.map(({ name }) => relative(projectFolder, dirname(name)));
  expect(new Set(folders)).toEqual(new Set(["test/shared/store", "test/flow"]));
});
