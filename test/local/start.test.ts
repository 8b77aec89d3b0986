import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { z } from "zod";
import { isRunning } from "../../local/processes/pids.ts";
import { freePort } from "../../local/processes/free-ports.ts";
import { nodeProgram, startProgram, type Program } from "../../local/processes/programs.ts";
import { copyBuiltEdge } from "../services/built-edge.ts";
import { freshDatabase } from "../services/services.ts";
import { Viewer } from "../services/viewer.ts";
import { until } from "../services/waiting.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-start-"));
const Facts = z.object({
  api_base: z.string(),
  edges: z.array(z.string()),
  edge_pid: z.number(),
  api_key: z.string(),
  metrics_token: z.string(),
  postgres_url: z.string(),
  workers: z.array(z.object({ name: z.string(), pid: z.number(), health_url: z.string() })),
});

function facts(): z.infer<typeof Facts> {
  return Facts.parse(JSON.parse(readFileSync(join(dir, "dev.json"), "utf8")));
}

let port: number;
const lines: string[] = [];

/** Starts `npm start` on the test's folder, and waits until it is running. */
async function start(): Promise<Program> {
  const command = nodeProgram("local/main.ts", { CORS_ORIGINS: "https://app.example.com" });
  const flags = ["--data", dir, "--port", String(port), "--edges", "2", "--workers", "2"];
  const { promise: running, resolve, reject } = Promise.withResolvers<void>();
  const program = startProgram("start", { ...command, args: [...command.args, ...flags] }, (line) => {
    lines.push(line);
    if (line.startsWith("synapse-edge is running")) resolve();
  });
  program.child.once("exit", () => reject(new Error("the system ended before it was running")));
  await running;
  return program;
}

async function interrupt({ child }: Program): Promise<number> {
  child.kill("SIGINT");
  const [code] = await once(child, "exit");
  return z.number().parse(code);
}

let running: Program;
beforeAll(async () => {
  chmodSync(dir, 0o711);
  await copyBuiltEdge(dir);
  port = await freePort(0);
  running = await start();
});
afterAll(async () => {
  await running.stop();
  rmSync(dir, { recursive: true, force: true });
});

const Accepted = z.object({ run_id: z.string(), stream_url: z.string(), status_url: z.string() });

type RequestOptions = { method?: string; body?: string; headers?: Record<string, string> };

function request(edge: number, path: string, options: RequestOptions = {}): Promise<Response> {
  const { edges, api_key } = facts();
  const headers = {
    authorization: `Bearer ${api_key}`,
    "content-type": "application/json",
    ...options.headers,
  };
  return fetch(`${edges[edge]}${path}`, { ...options, headers });
}

async function run(edge: number): Promise<z.infer<typeof Accepted>> {
  const body = JSON.stringify({ message: "hello" });
  const answer = await request(edge, "/api/v2/orchestrations/orch_smoke/run", { method: "POST", body });
  expect(answer.status).toBe(202);
  return Accepted.parse(await answer.json());
}

/** The event ids of a stream, up to its end or the first `most` of them. */
async function ids(edge: number, path: string, most: number, lastEventId?: string): Promise<string[]> {
  const { edges, api_key } = facts();
  const viewer = await Viewer.open(`${edges[edge]}${path}`, {
    authorization: `Bearer ${api_key}`,
    ...(lastEventId !== undefined && { "last-event-id": lastEventId }),
  });
  expect(viewer.status).toBe(200);
  await viewer.until(({ ended, frames }) => ended || frames.length >= most);
  viewer.leave();
  return viewer.frames.map(({ id }) => id).slice(0, most);
}

test("a run that was posted to one edge streams on the other, and resumes on the first without a gap", async () => {
  const { stream_url } = await run(0);
  const first = await ids(1, stream_url, 3);
  const rest = await ids(0, stream_url, Infinity, first.at(-1));
  const numbers = [...first, ...rest].map((id) => Number(id.split("-")[1]));
  expect(numbers.length).toBeGreaterThan(6);
  expect(numbers).toEqual(numbers.map((_, index) => index + 1));
});

test("the printed lines work as pasted", async () => {
  const pasted = lines.filter((line) => /^(RUN=|curl )/.test(line));
  expect(pasted).toHaveLength(3);
  const shell = spawnSync("bash", ["-c", pasted.join("\n")], { encoding: "utf8", timeout: 200_000 });
  expect(shell.stdout).toContain('"type":"done"');
  expect(shell.stdout).toContain('"status":"completed"');
  const reference =
    lines
      .find((line) => line.includes("Reference"))
      ?.split(" ")
      .at(-1) ?? "";
  expect([reference, (await fetch(reference)).status]).toEqual([`http://localhost:${port}/docs`, 200]);
});

test("dev.json and secrets.json are readable by their owner only", () => {
  for (const name of ["dev.json", "secrets.json"]) {
    expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600);
  }
});

// Fails when the requests are too large or in an order that the API refuses, or when the command succeeds although a definition was refused.
test("npm run sync saves a folder in as many requests as it needs, and names the file of each error", () => {
  const folder = join(dir, "definitions");
  mkdirSync(join(folder, "agents"), { recursive: true });
  for (let i = 0; i < 120; i++) {
    const agent = { name: `Agent ${i}`, system_prompt: "x".repeat(10_000) };
    writeFileSync(join(folder, "agents", `agent_${i}.json`), JSON.stringify(agent));
  }
  const steps = [{ id: "a", type: "agent", agent_id: "agent_119" }];
  const orchestrations = [{ id: "orch_many", name: "Many", entry_step_id: "a", steps }, { id: "orch_bad" }];
  writeFileSync(join(folder, "pack.json"), JSON.stringify({ synapse_export: true, orchestrations }));
  const sync = (...flags: string[]) => {
    const { api_base, api_key } = facts();
    const { command, args, env } = nodeProgram("local/sync/main.ts", {
      SYNAPSE_URL: api_base,
      SYNAPSE_API_KEY: api_key,
    });
    return spawnSync(command, [...args, ...flags], { env, encoding: "utf8", timeout: 200_000 });
  };
  const first = sync(folder, "--tenant", "acme");
  expect(first.stdout).toContain("error    pack.json orchestrations[1]: name: is required");
  expect(first.stdout).toContain(" 0 warnings.");
  expect(first.stdout).toContain("121 created, 0 updated, 0 unchanged, 0 deleted");
  expect(first.status).toBe(1);
  const second = sync(
    join(folder, "agents", "agent_1.json"),
    "--tenant",
    "acme",
    "--delete",
    "agents/agent_0",
  );
  expect(second.stdout).toBe("0 created, 0 updated, 1 unchanged, 1 deleted; 0 errors, 0 warnings.\n");
  expect(second.status).toBe(0);
});

// Fails when a bundle lacks the sandbox's thread, the process of a SQL call, or the packages of the object store.
test("a worker runs code, reads a database, and stores a large value in the bucket", async () => {
  const tool = { description: "Reads.", tool_type: "sql", connection: facts().postgres_url };
  const saved = await request(0, "/api/v2/tools/reads", { method: "PUT", body: JSON.stringify(tool) });
  expect(saved.status).toBe(200);
  const step = { type: "transform", next_step_id: "read" };
  const body = JSON.stringify({
    name: "Large",
    entry_step_id: "make",
    steps: [
      { ...step, id: "make", output_key: "large", transform_code: 'result = "x".repeat(200000)' },
      {
        ...step,
        id: "read",
        output_key: "length",
        transform_code: "result = state.large.length",
        next_step_id: "query",
      },
      {
        id: "query",
        type: "tool",
        forced_tool: "reads",
        input_keys: ["sql"],
        output_key: "rows",
      },
    ],
  });
  expect((await request(0, "/api/v2/orchestrations/orch_large", { method: "PUT", body })).status).toBe(200);
  const started = await request(0, "/api/v2/orchestrations/orch_large/run", {
    method: "POST",
    body: JSON.stringify({ message: "hello", state: { sql: "select 'read ' || (41 + 1) as answer" } }),
  });
  const { run_id, stream_url } = Accepted.parse(await started.json());
  await ids(1, stream_url, Infinity);
  const result = await request(1, `/api/v2/orchestrations/runs/${run_id}/result`);
  const text = await result.text();
  expect(text).toContain("200000");
  expect(text).toContain("read 42");
});

// Fails when the workers get no metrics token, or another one than dev.json has.
test("a worker's metrics require the token of dev.json", async () => {
  const { workers, metrics_token } = facts();
  const url = new URL("/metrics", workers[0]?.health_url);
  const answer = await fetch(url, { headers: { authorization: `Bearer ${metrics_token}` } });
  expect(await answer.text()).toContain("synapse_runs_without_wakeup 0");
  expect((await fetch(url)).status).toBe(401);
});

test("a worker that is killed is restarted, and dev.json has its new pid", async () => {
  const [victim] = facts().workers;
  if (!victim) throw new Error("there is no worker");
  process.kill(victim.pid, "SIGKILL");
  await until("a worker with another pid", () => facts().workers[0]?.pid !== victim.pid);
  // The file has the pid from the start of the process, which listens a moment later.
  const health = () => fetch(victim.health_url).then(({ status }) => status);
  await expect.poll(() => health().catch(String)).toBe(200);
});

// Fails when only the workers get the variables of the environment.
test("the edge gets its variables from the environment", async () => {
  const allowed = async (origin: string): Promise<string | null> =>
    (await request(1, "/livez", { headers: { origin } })).headers.get("access-control-allow-origin");
  expect(await allowed("https://app.example.com")).toBe("https://app.example.com");
  expect(await allowed("https://other.example.com")).toBe(null);
});

// Fails when a wrong value is passed on: the edge would answer 500 to every request.
test("a wrong variable ends the start with a text that says what would be right", async () => {
  const stores = { SCALE_POSTGRES_URL: await freshDatabase(), REDIS_URL: inject("redisUrl") };
  const wrong = { RATE_LIMIT_PER_TENANT_RPS: "many", ENABLE_TENANT_ISOLATION: "" };
  const { command, args, env } = nodeProgram("local/main.ts", { ...stores, ...wrong });
  const options = { env, encoding: "utf8", timeout: 200_000 } as const;
  await copyBuiltEdge(join(dir, "other"));
  const ended = spawnSync(command, [...args, "--data", join(dir, "other")], options);
  expect(ended.stderr).toContain("RATE_LIMIT_PER_TENANT_RPS: must be a whole number from 1 to 1000000000.");
  expect(ended.stderr).not.toContain("ENABLE_TENANT_ISOLATION");
  expect(ended.status).toBe(1);
});

test("a second start on the same folder names the first process, and exits with 1", () => {
  const { command, args, env } = nodeProgram("local/main.ts");
  const second = spawnSync(command, [...args, "--data", dir], { env, encoding: "utf8", timeout: 200_000 });
  expect(second.status).toBe(1);
  expect(second.stderr).toContain(`process ${running.child.pid}`);
});

test("Ctrl-C ends everything, and the next start has all data", async () => {
  const { status_url } = await run(0);
  const before = facts();
  const pids = [before.edge_pid, ...before.workers.map(({ pid }) => pid)];
  // A process that `npm start` does not end runs for ever: this wait then fails at its time limit.
  expect(await interrupt(running)).toBe(0);
  expect(pids.filter(isRunning)).toEqual([]);

  running = await start();
  expect(facts().api_key).toBe(before.api_key);
  const answer = await request(1, status_url);
  expect(answer.status).toBe(200);
});

async function definition(path: string): Promise<{ version: number; name: string; url?: string }> {
  const answer = await request(0, `/api/v2/${path}`);
  expect(answer.status).toBe(200);
  const Definition = z.object({ version: z.number(), name: z.string(), url: z.string().optional() });
  const { url, ...rest } = Definition.parse(await answer.json());
  return url === undefined ? rest : { ...rest, url };
}

// Fails when a start saves demo definitions that exist or were deleted, or when the search tool still names a port
// that another program has taken.
test("the next start keeps edited and deleted demo definitions as they are; only the search tool's URL follows its server", async () => {
  const smoke = await (await request(0, "/api/v2/orchestrations/orch_smoke")).json();
  const { version, ...edited } = z.looseObject({ version: z.number() }).parse(smoke);
  const body = JSON.stringify({ ...edited, name: "Mine" });
  expect((await request(0, "/api/v2/orchestrations/orch_smoke", { method: "PUT", body })).status).toBe(200);
  expect((await request(0, "/api/v2/orchestrations/orch_approval", { method: "DELETE" })).status).toBe(204);
  const [writer, search] = await Promise.all([
    definition("agents/agent_writer"),
    definition("tools/web_search"),
  ]);

  await interrupt(running);
  const other = createServer().listen(Number(new URL(search.url ?? "").port), "127.0.0.1");
  await once(other, "listening");
  running = await start();
  other.close();

  expect(await definition("orchestrations/orch_smoke")).toEqual({ version: version + 1, name: "Mine" });
  expect((await request(0, "/api/v2/orchestrations/orch_approval")).status).toBe(404);
  expect(await definition("agents/agent_writer")).toEqual(writer);
  const moved = await definition("tools/web_search");
  expect(moved).toEqual({ ...search, version: search.version + 1, url: expect.any(String) });
  expect((await fetch(`${moved.url}?query=where`)).status).toBe(200);
});
