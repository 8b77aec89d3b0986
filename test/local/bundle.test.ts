import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { z } from "zod";
import { builtWorker } from "../services/built-worker.ts";

const printModules = "process.once('exit', () => console.log(JSON.stringify(process.moduleLoadList)))";

// Fails when a module of the worker imports node:http in the bundle, or uses fetch, Headers or Response while it is loaded.
test("a worker loads its modules without loading undici and node:http2", async () => {
  const [flags, worker] = [["--import", `data:text/javascript,${printModules}`], await builtWorker("real")];
  // Without variables it loads its modules and ends.
  const ended = promisify(execFile)(process.execPath, [...flags, ...worker], { env: {} });
  const output = z.object({ stdout: z.string(), stderr: z.string() });
  const { stdout, stderr } = await ended.catch((error: unknown) => output.parse(error));
  expect(stderr).toContain("REDIS_URL is missing");
  const modules = z.array(z.string()).parse(JSON.parse(stdout));
  expect(modules).toContain("NativeModule http");
  expect(modules.filter((name) => /undici|http2/.test(name))).toEqual([]);
});
