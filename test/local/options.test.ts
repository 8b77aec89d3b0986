import { mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { writeEnvFile, writeVariables } from "../../local/edge/dev-vars.ts";
import { readOptions } from "../../local/settings/options.ts";
import { projectFolder } from "../../local/processes/programs.ts";

test("without flags there are two workers and one edge on 8123, with data in .synapse", () => {
  const data = join(projectFolder, ".synapse");
  expect(readOptions([])).toEqual({ workers: 2, edges: 1, port: 8123, data, dev: false });
  expect(readOptions(["--workers", "4", "--edges=2"])).toMatchObject({ workers: 4, edges: 2 });
});

test.each([
  [["--workers", "none"], "--workers must be a number"],
  [["--workers", "0"], "--workers must be at least 1"],
  [["--port", "70000"], "--port must be at most 65535"],
  [["--edges", "2", "--dev"], "npm run dev serves one edge"],
  [["--wrokers", "2"], "--wrokers"],
  [["--help"], "Usage: npm start -- [--workers 2]"],
])("%j is refused with a text that names the flag", (args, message) => {
  expect(() => readOptions(args)).toThrow(message);
});

test("variables are written once and replaced later; other variables of the file are kept", () => {
  const dir = mkdtempSync(join(tmpdir(), "synapse-vars-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = join(dir, ".dev.vars");
  writeFileSync(file, "OPENAI_API_KEY=mine\nREDIS_URL=old\n");
  writeVariables(dir, ".dev.vars", { REDIS_URL: "redis://127.0.0.1:1" });
  expect(readFileSync(file, "utf8")).toMatch(
    /^#.*\nREDIS_URL="redis:\/\/127.0.0.1:1"\nOPENAI_API_KEY=mine\n$/,
  );

  utimesSync(file, 1, 1);
  writeVariables(dir, ".dev.vars", { REDIS_URL: "redis://127.0.0.1:1" });
  expect(statSync(file).mtimeMs).toBe(1_000);
  writeVariables(dir, ".dev.vars", { REDIS_URL: "redis://127.0.0.1:2" });
  expect(readFileSync(file, "utf8")).toContain("127.0.0.1:2");
  expect(readFileSync(file, "utf8").match(/REDIS_URL/g)).toHaveLength(1);
});

test("wrangler dev reads each value of its file of variables as it is", async () => {
  const dir = mkdtempSync(join(tmpdir(), "synapse-vars-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = join(dir, "edge.env");
  const values = { PLAIN: "a b#c", URL: "redis://u:p$HOME${PLAIN}$1@127.0.0.1:1/?a=b", JSON: `["*"]` };
  writeEnvFile(file, values);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const { unstable_getVarsForDev } = await import("wrangler");
  const read = unstable_getVarsForDev(undefined, [file], {}, undefined, true);
  expect(Object.fromEntries(Object.entries(read).map(([key, { value }]) => [key, value]))).toEqual(values);
});
