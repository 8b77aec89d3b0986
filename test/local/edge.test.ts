import { cpSync, mkdtempSync, rmSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { buildEdge, type EdgeBuild } from "../../local/edge/build.ts";
import { startEdgeProcess, type RunningEdges } from "../../local/edge/process.ts";
import type { EdgeSettings } from "../../local/edge/workerd-config.ts";
import { readEdgeSettings } from "../../local/image/edge-settings.ts";
import { freePort } from "../../local/processes/free-ports.ts";
import { until } from "../services/waiting.ts";

const dir = mkdtempSync(join(tmpdir(), "synapse-edge-"));
const sources = { config: join(dir, "source/wrangler.toml"), folders: [join(dir, "source")] };
let build: EdgeBuild;
let settings: EdgeSettings;
let edges: RunningEdges;

beforeAll(async () => {
  cpSync(join(import.meta.dirname, "fixtures/edge"), join(dir, "source"), { recursive: true });
  build = await buildEdge(join(dir, "build"), sources);
  settings = {
    data: join(dir, "data"),
    ports: [await freePort(0), await freePort(0)],
    s3Port: await freePort(0),
    s3: { accessKeyId: "somebody", secretAccessKey: "secret" },
    postgresUrl: "postgres://us%40er:p%40ss%2Fw%3Ard%3F%23%25@127.0.0.1:5432/orders",
    vars: { COLOUR: "of the start" },
  };
  edges = await startEdgeProcess(build, settings);
});
afterAll(async () => {
  await edges.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function requestOf(edge: number): Promise<unknown> {
  const answer = await fetch(`http://127.0.0.1:${settings.ports[edge]}/`);
  return answer.json();
}

function bucket(secretAccessKey: string): S3Client {
  return new S3Client({
    endpoint: `http://127.0.0.1:${settings.s3Port}/cdn-cgi/local/r2/s3`,
    region: "auto",
    forcePathStyle: true,
    credentials: { ...settings.s3, secretAccessKey },
  });
}

const greeting = { Bucket: "fixture", Key: "greeting", Body: "good morning" };

test("two edges are two isolates with the bindings of wrangler.toml, and share one bucket with S3", async () => {
  await bucket("secret").send(new PutObjectCommand(greeting));
  const first = {
    colour: "of the start",
    database: "/orders",
    // Fails when workerd gets them as they are: it writes them into the connection string without escapes.
    login: ["us@er", "p@ss/w:rd?#%"],
    greeting: "good morning",
    counted: 1,
    requests: 1,
  };
  expect(await requestOf(0)).toEqual(first);
  expect(await requestOf(0)).toEqual({ ...first, counted: 2, requests: 2 });
  expect(await requestOf(1)).toEqual(first);
});

// Fails when the edge takes the sentinel of its REDIS_URL for Redis.
test("an edge refuses the name of a master that only sentinels know, and says what to write", () => {
  const variables = { REDIS_SENTINEL_NAME: "mymaster", REDIS_URL: "redis://sentinel:26379" };
  expect(() => readEdgeSettings(variables, build)).toThrow(
    "REDIS_SENTINEL_NAME is not for an edge: leave it out",
  );
});

test("a rate limit of wrangler.toml holds", async () => {
  const allowed: unknown[] = [];
  for (let calls = 0; calls < 10; calls++)
    allowed.push(await (await fetch(`http://127.0.0.1:${settings.ports[0]}/limited`)).json());
  expect(allowed.slice(0, 3)).toEqual([true, true, true]);
  // The limit is 3 calls a minute. Six calls may be served when a new minute begins between them.
  expect(allowed.filter((success) => success === true).length).toBeLessThanOrEqual(6);
});

// The folders `.synapse/edge` of earlier versions were written by Miniflare.
test("an edge has the bucket that Miniflare wrote into its data folder", async () => {
  const data = join(dir, "earlier");
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      modules: true,
      script: "export default { fetch: () => new Response() }",
      r2Buckets: { ARTIFACTS: "fixture" },
      resourcePersistencePath: data,
    }),
  );
  const earlier = await miniflare.getR2Bucket("ARTIFACTS");
  await earlier.put("greeting", "from Miniflare");
  await miniflare.dispose();

  const ports = [await freePort(0)];
  const other = await startEdgeProcess(build, { ...settings, data, ports, s3Port: await freePort(0) });
  onTestFinished(() => other.stop());
  const answer = await fetch(`http://127.0.0.1:${ports[0]}/`);
  expect(await answer.json()).toMatchObject({ greeting: "from Miniflare" });
});

// Fails when nothing runs the cron trigger outside of Cloudflare: the objects of a deleted tenant would stay for ever.
test("the cron trigger of the edge runs a minute after the start", async () => {
  const ports = [await freePort(0)];
  const data = join(dir, "cron");
  vi.useFakeTimers({ toFake: ["setTimeout", "setInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  const other = await startEdgeProcess(build, { ...settings, data, ports, s3Port: await freePort(0) });
  onTestFinished(() => other.stop());
  vi.advanceTimersByTime(60_000);
  vi.useRealTimers();
  await until("the edge has done its periodic work", async () => {
    const answer = await fetch(`http://127.0.0.1:${ports[0]}/`);
    return (
      z.object({ greeting: z.string().nullable() }).parse(await answer.json()).greeting === "good evening"
    );
  });
});

test("S3 refuses a wrong secret", async () => {
  const refused = bucket("guessed").send(new PutObjectCommand(greeting));
  await expect(refused).rejects.toMatchObject({ $metadata: { httpStatusCode: 403 } });
});

test("a build is reused until a source is newer", async () => {
  const builtMs = (): number => statSync(build.script).mtimeMs;
  const first = builtMs();
  await buildEdge(join(dir, "build"), sources);
  expect(builtMs()).toBe(first);
  const later = new Date(Date.now() + 1000);
  utimesSync(join(dir, "source/main.ts"), later, later);
  await buildEdge(join(dir, "build"), sources);
  expect(builtMs()).toBeGreaterThan(first);
});

test("a build that fails throws with wrangler's output", async () => {
  const missing = { ...sources, config: join(dir, "nothing.toml") };
  await expect(buildEdge(join(dir, "other"), missing)).rejects.toThrow("nothing.toml");
});
