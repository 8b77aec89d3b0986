/** Everything one machine needs, started in order and stopped in the opposite one. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { readConfig, variableNames } from "../edge/env.ts";
import { searchUrl, startSearchServer } from "./demo/search-server.ts";
import { writeVariables } from "./edge/dev-vars.ts";
import { buildEdge, edgeSources } from "./edge/build.ts";
import { hyperdriveVariable, s3Of, startEdgeProcess, startWranglerDev } from "./edge/process.ts";
import type { RunningEdges } from "./edge/process.ts";
import type { EdgeSettings } from "./edge/miniflare.ts";
import type { Facts } from "./settings/facts.ts";
import { startFleet } from "./workers.ts";
import { keepAlive } from "./processes/keep-alive.ts";
import { defaultDataFolder, type Options } from "./settings/options.ts";
import { firstFreePort, keptPort, lastPort } from "./processes/ports.ts";
import { projectFolder } from "./processes/programs.ts";
import { openSecrets, writePrivate } from "./settings/secrets.ts";
import { openPostgres, openRedis, type Start } from "./stores/open.ts";
import { seedDefinitions, untilRunsAreTaken } from "./demo/seed.ts";

/** `facts` are those of now: what has come back has another pid. */
export type Stack = { facts(): Facts; stop(): Promise<void> };

/**
 * Starts the system of one data folder; it takes runs when this resolves. `dev.json` in the folder tells where
 * everything is, then and after something has died and come back.
 * @throws Error of the part that did not start; those that did are stopped then.
 */
export async function startStack(options: Options, env: NodeJS.ProcessEnv): Promise<Stack> {
  const started = { program: new Set<() => Promise<void>>(), store: new Set<() => Promise<void>>() };
  const stop = async (): Promise<void> => {
    await Promise.all([...started.program].map((end) => end()));
    await Promise.all([...started.store].map((end) => end()));
  };
  try {
    let facts: (() => Facts) | null = null; // something may come back before all is known
    const writeFacts = (): void => {
      if (facts !== null) writePrivate(join(options.data, "dev.json"), facts());
    };
    const keep: Start["keep"] = (kind, part) => {
      started[kind].add(part.stop);
      return part;
    };
    facts = await startParts(options, { data: options.data, env, keep, changed: writeFacts });
    writeFacts();
    return { facts, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(options: Options, start: Start): Promise<() => Facts> {
  const { data, env, keep, changed } = start;
  const secrets = openSecrets(data);
  mkdirSync(join(data, "build"), { recursive: true });
  const [build, postgres, [redis, rest]] = await Promise.all([
    buildEdge(join(data, "build"), edgeSources),
    openPostgres(start, secrets.api_key),
    openRedis(start, secrets.rest_token),
  ]);

  const shardsOf = (name: string): string =>
    env[name] || z.string().default("1").parse(build.options.bindings[name]);
  // Both sides must agree on these; wrangler.toml says what they are when the environment does not.
  const shards = { QUEUE_SHARDS: shardsOf("QUEUE_SHARDS"), EVENT_SHARDS: shardsOf("EVENT_SHARDS") };
  // What runs here may call what runs here.
  const EGRESS_ALLOW = env.EGRESS_ALLOW ?? "127.0.0.0/8,::1/128";
  const vars = {
    ...shards,
    UPSTASH_REDIS_REST_URL: rest.url,
    UPSTASH_REDIS_REST_TOKEN: secrets.rest_token,
    REDIS_URL: redis.url,
    PREPARE_STATEMENTS: new URL(postgres.url).searchParams.get("prepare") === "false" ? "0" : "1",
    STATE_SECRET: secrets.state_secret,
    STREAM_TOKEN_SECRET: secrets.stream_token_secret,
    MASTER_KEY: secrets.master_key,
    EGRESS_ALLOW,
  };
  // The rest is the environment's to say. A wrong value ends the start here: the edge would answer 500 to everything.
  const asked = askedOfEdge(env, vars);
  readConfig({ ...build.options.bindings, ...asked, ...vars });
  const settings: EdgeSettings = {
    build: join(data, "build"),
    data: join(data, "edge"),
    ports: await edgePorts(options),
    s3Port: await keptPort(join(data, "s3-port")),
    s3: { accessKeyId: secrets.s3_access_key_id, secretAccessKey: secrets.s3_secret_access_key },
    postgresUrl: postgres.url,
    vars: { ...asked, ...vars },
  };
  // There is one such file a project, so it speaks of the usual folder.
  if (data === defaultDataFolder) {
    writeVariables(projectFolder, ".dev.vars", vars);
    writeVariables(projectFolder, ".env", { [hyperdriveVariable(build)]: postgres.url });
  }

  const s3 = s3Of(build, settings, options.dev);
  const metricsToken = env.METRICS_TOKEN || secrets.metrics_token;
  const workerEnv = {
    ...shards,
    REDIS_URL: redis.url,
    SCALE_POSTGRES_URL: postgres.url,
    STATE_SECRET: secrets.state_secret,
    S3_ENDPOINT: s3.endpoint,
    S3_BUCKET: s3.bucket,
    S3_REGION: s3.region,
    S3_ACCESS_KEY_ID: s3.access_key_id,
    S3_SECRET_ACCESS_KEY: s3.secret_access_key,
    SYNAPSE_DATA_DIR: data,
    // Below the time that Ctrl-C gives to a child.
    WORKER_DRAIN_SECONDS: "2",
    METRICS_TOKEN: metricsToken,
    MASTER_KEY: secrets.master_key,
    EGRESS_ALLOW,
  };
  const startEdge = (signal: AbortSignal): Promise<RunningEdges> =>
    options.dev ? startWranglerDev(build, settings, asked, signal) : startEdgeProcess(settings, signal);
  const [edge, fleet] = await Promise.all([
    keepAlive("edge", startEdge, changed).then((part) => keep("program", part)),
    startFleet(options.workers, workerEnv, changed).then((part) => keep("program", part)),
  ]);

  const { bases } = edge.now();
  const [api_base = ""] = bases;
  const searchPort = join(data, "search-port");
  const lastUrl = searchUrl(lastPort(searchPort));
  const search = keep("program", await startSearchServer(await keptPort(searchPort)));
  await seedDefinitions(postgres.url, api_base, secrets.api_key, { url: search.url, lastUrl });
  await untilRunsAreTaken(api_base, secrets.api_key);
  return () => ({
    api_base,
    edges: bases,
    edge_pid: edge.now().pid,
    api_key: secrets.api_key,
    redis_url: redis.url,
    redis_pid: redis.pid(),
    redis_rest_url: rest.url,
    redis_rest_pid: rest.pid(),
    redis_rest_token: secrets.rest_token,
    postgres_url: postgres.url,
    postgres_pid: postgres.pid(),
    s3,
    models: fleet.models,
    metrics_token: metricsToken,
    workers: fleet.workers(),
  });
}

/** The variables in `env` that the edge knows and that are not `decided` here. An empty one is not set. */
function askedOfEdge(env: NodeJS.ProcessEnv, decided: object): Record<string, string> {
  const names = variableNames.filter((name) => !(name in decided));
  return Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
}

/** Neighbours, from the wanted one on. */
async function edgePorts({ edges, port }: Options): Promise<number[]> {
  const ports: number[] = [];
  for (let next = port; ports.length < edges; next++) ports.push((next = await firstFreePort(next)));
  return ports;
}
