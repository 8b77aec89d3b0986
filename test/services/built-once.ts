import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { until } from "./waiting.ts";

/** Runs `build` once in a run of tests. The first test file that calls this for `folder` runs it; test files in other processes wait for its end. */
export async function builtOnce(folder: string, build: () => Promise<void>): Promise<void> {
  const done = join(folder, "done");
  if (mkdirSync(folder, { recursive: true }) !== undefined) {
    await build();
    mkdirSync(done);
  }
  await until(`${folder} is built`, () => existsSync(done));
}
