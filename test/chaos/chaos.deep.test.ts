import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { nodeProgram } from "../../local/processes/programs.ts";
import { TEST_SEED } from "../services/seed.ts";

/** Short, so that a slice of `.ci/run` takes less than two minutes. Before a release it is `npm run chaos -- --minutes 20`. */
const MINUTES = 1.25;

test("the system keeps its promises through a minute of faults", { timeout: 300_000 }, async () => {
  const { command, args, env } = nodeProgram("test/chaos/main.ts");
  const options = ["--only", "faults", "--minutes", String(MINUTES), "--seed", String(TEST_SEED), "--short"];
  const chaos = spawn(command, [...args, ...options], { env, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(chaos, "exit");
  expect(code, `npm run chaos -- ${options.join(" ")}`).toBe(0);
});
