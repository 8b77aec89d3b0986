import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect } from "vitest";
import { nodeProgram } from "../../local/processes/programs.ts";
import { TEST_SEED } from "../services/seed.ts";

/** Runs `npm run chaos` with these options and the seed of the test run, and expects that every promise was kept. */
export async function expectChaosKeepsPromises(...options: string[]): Promise<void> {
  const { command, args, env } = nodeProgram("test/chaos/main.ts");
  const all = [...options, "--seed", String(TEST_SEED)];
  const chaos = spawn(command, [...args, ...all], { env, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(chaos, "exit");
  expect(code, `npm run chaos -- ${all.join(" ")}`).toBe(0);
}
