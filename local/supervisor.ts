/** Starts all parts of the system on one machine: the stores first, then the programs. It stops them in the opposite order. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { searchUrl, startSearchServer } from "./demo/search-server.ts";
import { seedDefinitions, untilRunsAreAccepted } from "./demo/seed.ts";
import { buildEdge, edgeSources, type EdgeBuild } from "./edge/build.ts";
import { writeEnvFile, writeVariables } from "./edge/dev-vars.ts";
import { hyperdriveVariable, s3Of, startEdgeProcess, startWranglerDev } from "./edge/process.ts";
import type { RunningEdges } from "./edge/process.ts";
import type { EdgeSettings } from "./edge/workerd-config.ts";
import { keepAlive } from "./processes/keep-alive.ts";
import { firstFreePort, keptPort, lastPort } from "./processes/free-ports.ts";
import { projectFolder } from "./processes/programs.ts";
import {
  edgeVariables,
  metricsTokenOf,
  workerVariables,
  type EdgeVariables,
} from "./settings/environment.ts";
import type { Facts } from "./settings/facts.ts";
import { defaultDataFolder, type Options } from "./settings/options.ts";
import { openSecrets, writePrivate, type Secrets } from "./settings/secrets.ts";
import { openPostgres, openRedis, type Start } from "./stores/open-stores.ts";
import { startFleet } from "./workers.ts";

/** A running system. `facts()`: the facts of this moment, because a part that was restarted has another pid. */
export type Stack = { facts(): Facts; stop(): Promise<void> };

/**
 * Starts the system of one data folder. It accepts runs when this resolves. `dev.json` in the folder has the facts, and is
 * written again when a part was restarted.
 * @throws the error of a part that did not start; the other parts are stopped then
 */
export async function startStack(options: Options, env: NodeJS.ProcessEnv): Promise<Stack> {
  const started = { program: new Set<() => Promise<void>>(), store: new Set<() => Promise<void>>() };
  const stop = async (): Promise<void> => {
    await Promise.all([...started.program].map((stopPart) => stopPart()));
    await Promise.all([...started.store].map((stopPart) => stopPart()));
  };
  try {
    let facts: (() => Facts) | null = null; // null until the start is complete: a part may be restarted before
    const writeFacts = (): void => {
      if (facts !== null) writePrivate(join(options.data, "dev.json"), facts());
    };
    const track: Start["track"] = (kind, part) => {
      started[kind].add(part.stop);
      return part;
    };
    facts = await startParts(options, { data: options.data, env, track, onRestart: writeFacts });
    writeFacts();
    return { facts, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(options: Options, start: Start): Promise<() => Facts> {
  const { data, env, track, onRestart } = start;
  const secrets = openSecrets(data);
  const buildFolder = join(data, "build");
  mkdirSync(buildFolder, { recursive: true });
  const [build, postgres, [redis, rest]] = await Promise.all([
    buildEdge(buildFolder, edgeSources),
    openPostgres(start, secrets.api_key),
    openRedis(start, secrets.rest_token),
  ]);
  const known = {
    env,
    build,
    secrets,
    postgresUrl: postgres.url,
    redisUrl: redis.url,
    redisRestUrl: rest.url,
  };
  const variables = edgeVariables(known);
  const settings = await edgeSettings(options, secrets, postgres.url, variables);
  const envFile = data === defaultDataFolder ? null : join(data, "edge.env");
  if (envFile === null) writeWranglerFiles(build, postgres.url, variables.decided);
  else if (options.dev) writeEnvFile(envFile, variables.decided);

  const s3 = s3Of(build, settings, options.dev);
  const workerEnv = workerVariables(known, s3, data);
  const startEdge = (signal: AbortSignal): Promise<RunningEdges> =>
    options.dev
      ? startWranglerDev(build, settings, envFile, variables.requested, signal)
      : startEdgeProcess(build, settings, signal);
  const [edge, fleet] = await Promise.all([
    keepAlive("edge", startEdge, onRestart).then((part) => track("program", part)),
    startFleet(options.workers, workerEnv, onRestart).then((part) => track("program", part)),
  ]);

  const { bases } = edge.current();
  const [api_base = ""] = bases;
  await startDemo(start, postgres.url, api_base, secrets.api_key);
  return () => ({
    api_base,
    edges: bases,
    edge_pid: edge.current().pid,
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
    metrics_token: metricsTokenOf(known),
    workers: fleet.workers(),
  });
}

async function edgeSettings(
  options: Options,
  secrets: Secrets,
  postgresUrl: string,
  { decided, requested }: EdgeVariables,
): Promise<EdgeSettings> {
  const { data } = options;
  return {
    data: join(data, "edge"),
    ports: await edgePorts(options),
    s3Port: await keptPort(join(data, "s3-port")),
    s3: { accessKeyId: secrets.s3_access_key_id, secretAccessKey: secrets.s3_secret_access_key },
    postgresUrl,
    vars: { ...requested, ...decided },
  };
}

/** One free port for each edge: consecutive ports from the wanted one on, without those that are taken. */
async function edgePorts({ edges, port }: Options): Promise<number[]> {
  const ports: number[] = [];
  for (let next = port; ports.length < edges; next++) ports.push((next = await firstFreePort(next)));
  return ports;
}

/**
 * Writes the files for `npx wrangler dev` beside this system. The project has one such pair of files, for the system of the default
 * data folder.
 */
function writeWranglerFiles(build: EdgeBuild, postgresUrl: string, variables: Record<string, string>): void {
  writeVariables(projectFolder, ".dev.vars", variables);
  writeVariables(projectFolder, ".env", { [hyperdriveVariable(build)]: postgresUrl });
}

/** Starts the demo's search server, saves the demo's definitions, and waits until runs are accepted. */
async function startDemo(
  { data, track }: Start,
  postgresUrl: string,
  apiBase: string,
  apiKey: string,
): Promise<void> {
  const portFile = join(data, "search-port");
  const lastUrl = searchUrl(lastPort(portFile));
  const { url } = track("program", await startSearchServer(await keptPort(portFile)));
  await seedDefinitions(postgresUrl, apiBase, apiKey, { url, lastUrl });
  await untilRunsAreAccepted(apiBase, apiKey);
}
