/** What a generator of clients makes of the served document, compiled and run against the API and a worker. */
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { builtWorker } from "../services/built-worker.ts";
import { spawnWorker } from "../services/worker-process.ts";
import type { WorkerProcess } from "../services/worker-process.ts";
import { startEdge } from "./edge.ts";
import type { Edge } from "./edge.ts";

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CLIENTS = join(ROOT, "test/workerd/clients");

let edge: Edge;
let worker: WorkerProcess;
/** Below node_modules: the client imports openapi-fetch as any program of this package does. */
let folder: string;

beforeAll(async () => {
  mkdirSync(join(ROOT, "node_modules/.cache"), { recursive: true });
  folder = mkdtempSync(join(ROOT, "node_modules/.cache/generated-client-"));
  edge = await startEdge();
  const { service, postgresUrl } = edge.stores;
  worker = spawnWorker(
    "w1",
    { REDIS_URL: service.url, SCALE_POSTGRES_URL: postgresUrl, WORKER_HEALTH_PORT: "0", MASTER_KEY },
    await builtWorker("short"),
  );
  await worker.untilLogged("worker.ready");
});
afterAll(async () => {
  await worker.stop("SIGKILL");
  await edge.stop();
  rmSync(folder, { recursive: true, force: true });
});

const TSCONFIG = {
  compilerOptions: {
    target: "es2024",
    module: "nodenext",
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    types: ["node"],
    rootDir: ".",
    outDir: "out",
  },
  files: ["drive-run.ts"],
};

/** Generates the types of the served document, and compiles the client with them. @throws Error with the compiler's errors */
async function compileClient(): Promise<string> {
  const document = await (await edge.call("GET", "/api/v2/openapi.json")).text();
  const in_folder = (name: string) => join(folder, name);
  writeFileSync(in_folder("openapi.json"), document);
  writeFileSync(in_folder("package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(in_folder("tsconfig.json"), JSON.stringify(TSCONFIG));
  cpSync(join(CLIENTS, "drive-run.ts.txt"), in_folder("drive-run.ts"));
  const generator = fileURLToPath(import.meta.resolve("openapi-typescript")).replace(
    /dist\/index\.\w+$/,
    "bin/cli.js",
  );
  await run(process.execPath, [
    "--import",
    join(CLIENTS, "typescript-5.mjs"),
    generator,
    in_folder("openapi.json"),
    "--output",
    in_folder("api.ts"),
    // A field with a default need not be sent.
    "--default-non-nullable",
    "false",
  ]);
  const { stdout } = await run(join(ROOT, "node_modules/.bin/tsc"), ["-p", folder]).catch(
    (error: { stdout?: string }) => ({ stdout: error.stdout ?? "tsc did not start" }),
  );
  expect(stdout).toBe("");
  return in_folder("out/drive-run.js");
}

// Fails when a schema refuses what the API takes, promises what it does not send, or is too vague for a type.
test("a client that openapi-typescript and openapi-fetch make of the document drives a run from its definition to its end", async () => {
  const client = await compileClient();
  const { stdout } = await run(process.execPath, [client, edge.base, edge.platformKey]);
  expect(JSON.parse(stdout)).toEqual({
    version: 1,
    cost: 0,
    types: expect.arrayContaining(["worker_picked_up", "human_input_required", "step_complete", "done"]),
    answered: expect.stringMatching(/^invalid response/),
    status: "completed",
    waiting: null,
    state: expect.objectContaining({ said: "They said yes" }),
    listed: [true],
    missing: [404, "not_found"],
  });
});
