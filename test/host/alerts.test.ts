import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { projectFolder } from "../../local/processes/programs.ts";

/** Executes Debian's promtool in the project's folder. */
function promtool(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync("/usr/bin/promtool", args, {
    cwd: projectFolder,
    encoding: "utf8",
  });
  return { status, output: `${stdout}${stderr}` };
}

test("Prometheus reads the scrape configuration and the alert rules", () => {
  const config = promtool("check", "config", "--syntax-only", "deploy/prometheus.yml");
  expect(config, config.output).toMatchObject({ status: 0 });
  const rules = promtool("check", "rules", "--lint-fatal", "deploy/alerts.yml");
  expect(rules, rules.output).toMatchObject({ status: 0 });
});

test("each alert fires in the fixture of its fault, and none in a healthy fleet", () => {
  const tests = promtool("test", "rules", join("test/host/fixtures", "alerts.yml"));
  expect(tests, tests.output).toMatchObject({ status: 0 });
});
