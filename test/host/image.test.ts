import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { projectFolder, type Program } from "../../local/processes/programs.ts";
import { series } from "../../shared/metrics.ts";
import { secrets } from "../deploy/compose.ts";
import { startCollector } from "../services/otlp/collector.ts";
import type { Collector } from "../services/otlp/collector.ts";
import { startRedis } from "../services/services.ts";
import { until } from "../services/waiting.ts";
import { startDebianPostgres } from "./debian-postgres.ts";
import { Image, type ProgramName } from "./image.ts";
import { startDeployedPgBouncer } from "./pgbouncer.ts";

const ends: (() => Promise<unknown> | void)[] = [];
const programs = new Map<ProgramName, Program>();
let image: Image;
let collector: Collector;

/** The stores of compose.yaml, with its users and passwords. */
async function startStores(): Promise<{ redis: number; postgres: number; pgbouncer: number }> {
  const [server, redis] = await Promise.all([startDebianPostgres(), startRedis()]);
  ends.unshift(
    () => server.stop(),
    () => redis.stop(),
  );
  const sql = postgres(server.url, { max: 1 });
  await sql`create role synapse login`;
  await sql`create database synapse owner synapse`;
  await sql.end();
  const client = new Redis(redis.url, { protocol: 2 });
  await client.config("SET", "requirepass", secrets.REDIS_PASSWORD ?? "");
  client.disconnect();
  const url = new URL(`postgres://synapse:${secrets.POSTGRES_PASSWORD}@127.0.0.1:${server.port}/synapse`);
  const bouncer = await startDeployedPgBouncer(url, `"synapse" "${secrets.POSTGRES_PASSWORD}"\n`);
  ends.unshift(() => bouncer.stop());
  return { redis: redis.port, postgres: server.port, pgbouncer: bouncer.port };
}

/** Packs while a developer's `.dev.vars` exists. */
async function packBesideDevVars(): Promise<Image> {
  const file = join(projectFolder, ".dev.vars");
  if (existsSync(file)) return Image.pack();
  writeFileSync(file, 'STATE_SECRET="a secret of a developer, of this test"\n');
  try {
    return await Image.pack();
  } finally {
    rmSync(file);
  }
}

beforeAll(async () => {
  const [packed, stores] = await Promise.all([packBesideDevVars(), startStores()]);
  image = packed;
  ends.push(() => image.remove());
  collector = await startCollector();
  ends.push(() => collector.stop());
  const portOf = (url: string) => Number(new URL(url).port);
  const { grpcUrl, httpUrl } = collector;
  await image.connect({ ...stores, otlpGrpc: portOf(grpcUrl), otlpHttp: portOf(httpUrl) });
});
afterAll(async () => {
  await Promise.all([...programs.values()].map((program) => program.stop()));
  for (const end of ends) await end();
});

async function start(name: ProgramName): Promise<void> {
  programs.set(name, await image.start(name));
}

test("before its start a program is not healthy, and the edge names each variable that it lacks", async () => {
  for (const name of ["worker", "redis-rest", "edge"] as const) {
    expect(await image.health(name)).toMatchObject({ code: 1 });
  }
  const { code, output, errors } = await image.run("redis-rest", "edge.mjs");
  expect(code).toBe(1);
  for (const name of ["SCALE_POSTGRES_URL", "UPSTASH_REDIS_REST_URL", "S3_ACCESS_KEY_ID"]) {
    expect(output + errors).toContain(`${name} is not set`);
  }
});

// Fails when a program reads its variables without the files that hold secrets.
test("every program of the image reads secrets from files, and names a file that it cannot read", async () => {
  const file = join(image.tree, "secrets.env");
  writeFileSync(file, "SMTP_URL_FILE=/run/secrets/absent\n");
  for (const name of ["worker", "redis-rest", "edge", "healthcheck", "migrate", "create-key", "revoke-key"]) {
    const { code, output, errors } = await image.run("worker", `--env-file=${file}`, `${name}.mjs`);
    expect([name, code, output + errors]).toEqual([
      name,
      1,
      expect.stringContaining("SMTP_URL_FILE must name a file that can be read: ENOENT"),
    ]);
  }
  rmSync(file);
});

// The worker migrates the empty database. PgBouncer's file of users has the password, so the login is checked.
test("worker, REST front and edge start from the image's files with compose.yaml's environments, and are healthy", async () => {
  await Promise.all([start("worker"), start("redis-rest")]);
  await start("edge");
  for (const name of programs.keys()) {
    expect({ name, ...(await image.health(name)) }).toMatchObject({ name, code: 0, errors: "" });
  }
});

// The programs above run as this user. Tests that root does not run have no other user.
test.runIf(process.getuid?.() === 0)("the programs' user cannot write to the image's files", async () => {
  const write = 'require("node:fs").writeFileSync("../migrations/new.sql", "")';
  expect((await image.run("worker", "--eval", write)).errors).toContain("EACCES");
});

test("the image has no variable of a developer's .dev.vars", () => {
  const options = readFileSync(join(image.tree, "edge/build/options.json"), "utf8");
  const { bindings } = z.object({ bindings: z.record(z.string(), z.string()) }).parse(JSON.parse(options));
  const toml = readFileSync(join(projectFolder, "wrangler.toml"), "utf8");
  expect(Object.keys(bindings).length).toBeGreaterThan(5);
  expect(Object.keys(bindings).filter((name) => !toml.includes(`\n${name} = `))).toEqual([]);
});

async function request(method: string, path: string, bearer: string, body?: object): Promise<Response> {
  return fetch(image.url("edge", path), {
    method,
    headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(30_000),
  });
}

test("a run completes with sandboxed code and a large value, which the edge reads from the object store", async () => {
  const { output: key } = await image.run("worker", "create-key.mjs", "--tenant", "acme", "--name", "ops");
  const definition = {
    name: "Large",
    entry_step_id: "large",
    steps: [
      { id: "large", type: "transform", transform_code: 'result = "x".repeat(100_000)', output_key: "large" },
    ],
  };
  const saved = await request("PUT", "/api/v2/orchestrations/orch_large", key, definition);
  expect(await saved.text()).toContain("orch_large");
  const accepted = await request("POST", "/api/v2/orchestrations/orch_large/run", key, { message: "go" });
  const { run_id } = z.object({ run_id: z.string() }).parse(await accepted.json());
  const path = `/api/v2/orchestrations/runs/${run_id}`;
  await until(`${run_id} has completed`, async () =>
    (await (await request("GET", `${path}/status`, key)).text()).includes('"status":"completed"'),
  );
  const artifacts = await request("GET", `${path}/artifacts`, key);
  expect(await artifacts.text()).toContain("100002");
});

// The image has a package of its own beside the bundles for what cannot be bundled: a module that is missing there ends in no span.
test("worker and edge of the image send the spans of that run to the collector", async () => {
  const sent = (name: string) => collector.span(name, (span) => span.name === name);
  const accept = await sent("POST /api/v2/orchestrations/:id/run");
  const step = await sent("step large");
  expect(step.traceId).toBe(accept.traceId);
  expect(step.service).not.toBe(accept.service);
});

test("each series that the alerts, the dashboard and the autoscaler name is in the metrics of edge or worker", async () => {
  const texts = await Promise.all([
    request("GET", "/api/v2/metrics", secrets.METRICS_TOKEN ?? "").then((answer) => answer.text()),
    fetch(image.url("worker", "/metrics"), {
      headers: { authorization: `Bearer ${secrets.METRICS_TOKEN}` },
    }).then((answer) => answer.text()),
  ]);
  const served = texts.flatMap((text) => [...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
  const known = new Set([...served, ...Object.keys(series)]);
  const files = ["alerts.yml", "grafana-dashboard.json", "kubernetes/hpa.yaml"];
  for (const file of files) {
    const text = readFileSync(join(projectFolder, "deploy", file), "utf8");
    const named = text.match(/\b(synapse_\w+|queue_waiting_jobs)\b/g) ?? [];
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => !known.has(name.replace(/_bucket$/, "")))).toEqual([]);
  }
});

test("the programs of pm2's file are in the tree", () => {
  const text = readFileSync(join(projectFolder, "deploy/pm2.config.cjs"), "utf8");
  const scripts = [...text.matchAll(/script: "([^"]+)"/g)].map(([, script = ""]) => script);
  expect(scripts).toEqual(["worker.mjs", "redis-rest.mjs"]);
  for (const script of scripts) expect(statSync(join(image.tree, "programs", script)).isFile()).toBe(true);
});

/** The child processes of a process, with their names. */
function childrenOf(pid: number | null): { pid: number; name: string }[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return children.map((child) => ({
    pid: Number(child),
    name: readFileSync(`/proc/${child}/comm`, "utf8").trim(),
  }));
}

test("an edge whose workerd dies ends with the exit code 1, so that its container is restarted, and starts again", async () => {
  const edge = programs.get("edge");
  const workerd = childrenOf(edge?.pid ?? null).find(({ name }) => name === "workerd");
  if (workerd === undefined) throw new Error("the edge has no workerd");
  process.kill(workerd.pid, "SIGKILL");
  await edge?.ended;
  expect(edge?.child.exitCode).toBe(1);
  await start("edge");
  expect(await image.health("edge")).toMatchObject({ code: 0 });
});

test("SIGTERM ends each program with the exit code 0", async () => {
  for (const [name, { child, ended }] of programs) {
    child.kill("SIGTERM");
    await ended;
    expect({ name, code: child.exitCode }).toEqual({ name, code: 0 });
  }
});
