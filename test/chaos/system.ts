/** The whole system in one tree of processes, with a `Link`, which is a proxy with faults, between its parts. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { buildEdge } from "../../local/edge/build.ts";
import type { EdgeBuild } from "../../local/edge/build.ts";
import { edgeCommand, s3Of } from "../../local/edge/process.ts";
import type { EdgeSettings } from "../../local/edge/workerd-config.ts";
import { freePort } from "../../local/processes/free-ports.ts";
import { nodeProgram } from "../../local/processes/programs.ts";
import { openSecrets } from "../../local/settings/secrets.ts";
import { seedApiKey } from "../../local/demo/seed.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { Api } from "./api.ts";
import type { Counted } from "./counted-server.ts";
import { agents, orchestrations, toolAt } from "./definitions.ts";
import { Link } from "./link.ts";
import { ChaosMcpServer } from "./mcp-server.ts";
import { startModelServer } from "./model-server.ts";
import { POINTS_FOLDER, Points } from "./points.ts";
import { endProgram, startProgram } from "./program.ts";
import type { Program } from "./program.ts";
import { randomOf } from "./random.ts";
import { startReceiver } from "./receiver.ts";
import type { Receiver } from "./receiver.ts";
import { Server } from "./server.ts";
import { PostgresStore, RedisStore } from "./stores.ts";
import { tenants } from "./tenants.ts";
import { startToolServer } from "./tool-server.ts";
import { ManagedWorker } from "./workers.ts";
import type { Death } from "./workers.ts";

const WORKERS = 3;
const SLOTS = 6;

/**
 * What a phase changes about the system: the number of its workers, their environment, and whether they store large values in
 * an object store. The object store has a process of its own, as R2 is no part of an edge; the edge does not read it.
 */
type SystemChanges = { workers?: number; workerEnv?: Record<string, string>; withS3?: boolean };

export type System = {
  api: Api;
  postgres: PostgresStore;
  redis: RedisStore;
  edge: Server;
  rest: Server;
  objectStore: Program | null;
  links: Link[];
  workers: ManagedWorker[];
  points: Points;
  deaths: Death[];
  model: Counted;
  tool: Counted;
  mcp: ChaosMcpServer;
  receiver: Receiver;
  stop(): Promise<void>;
};

export async function startSystem(seed: number, changes: SystemChanges = {}): Promise<System> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-chaos-"));
  chmodSync(dir, 0o711); // another user may run Postgres, and must be able to enter this folder
  const closing: (() => Promise<unknown>)[] = [
    () => Promise.resolve(rmSync(dir, { recursive: true, force: true })),
  ];
  const stop = async (): Promise<void> => {
    for (const close of closing.toReversed()) await close();
  };
  try {
    const system = await startParts(dir, seed, changes, (close) => closing.push(close));
    return { ...system, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  dir: string,
  seed: number,
  { workers: count = WORKERS, workerEnv = {}, withS3 = false }: SystemChanges,
  onStop: (close: () => Promise<unknown>) => void,
): Promise<Omit<System, "stop">> {
  const secrets = openSecrets(dir);
  const [postgres, redis, edgeBuild] = await Promise.all([
    PostgresStore.start(join(dir, "postgres")),
    RedisStore.start(join(dir, "redis")),
    buildEdge(join(dir, "build")),
  ]);
  onStop(() => Promise.all([postgres.stop(), redis.stop()]));
  await migrate(postgres.url);
  await seedApiKey(postgres.url, secrets.api_key);
  const [model, tool, mcp, receiver] = await Promise.all([
    startModelServer(randomOf(seed, "model")),
    startToolServer(randomOf(seed, "tool")),
    ChaosMcpServer.start(randomOf(seed, "mcp")),
    startReceiver(randomOf(seed, "receiver")),
  ]);
  onStop(() => Promise.all([model.close(), tool.close(), mcp.close(), receiver.close()]));

  const links: Link[] = [];
  onStop(() => Promise.all(links.map((link) => link.close())));
  const throughLink = async (name: string, url: string): Promise<string> => {
    const address = new URL(url);
    const link = new Link(name, Number(address.port));
    links.push(link);
    address.host = `127.0.0.1:${await link.listen()}`;
    return address.href;
  };

  const restPort = await freePort(0);
  const restEnv = {
    REDIS_URL: await throughLink("rest-redis", redis.url),
    REDIS_REST_TOKEN: secrets.rest_token,
    REDIS_REST_PORT: String(restPort),
  };
  const restCommand = nodeProgram("worker-node/redis-rest/main.ts", restEnv);
  const rest = await Server.start("redis-rest", restCommand, { event: "redis_rest.listening" });
  onStop(() => endProgram(rest.program));

  const edgePort = await freePort(0);
  const settings: EdgeSettings = {
    data: join(dir, "edge"),
    ports: [edgePort],
    s3Port: await freePort(0),
    s3: { accessKeyId: secrets.s3_access_key_id, secretAccessKey: secrets.s3_secret_access_key },
    postgresUrl: await throughLink("edge-postgres", postgres.url),
    vars: {
      QUEUE_SHARDS: "1",
      EVENT_SHARDS: "2",
      UPSTASH_REDIS_REST_URL: await throughLink("edge-rest", `http://127.0.0.1:${restPort}`),
      UPSTASH_REDIS_REST_TOKEN: secrets.rest_token,
      REDIS_URL: await throughLink("relay-redis", redis.url),
      STATE_SECRET: secrets.state_secret,
      STREAM_TOKEN_SECRET: secrets.stream_token_secret,
      MASTER_KEY: secrets.master_key,
      EGRESS_ALLOW: "127.0.0.0/8",
    },
  };
  const { command, lastSocket } = edgeCommand(edgeBuild, settings, new URL(settings.postgresUrl).host);
  const edge = await Server.start("edge", command, { event: "listen", socket: lastSocket });
  onStop(() => endProgram(edge.program));

  const api = new Api(`http://127.0.0.1:${edgePort}`, secrets.api_key);
  for (const tenant of tenants) await api.must("POST", "/scale/tenants", tenant);
  await api.must("PUT", "/api/v2/tools/note_down", toolAt(`http://127.0.0.1:${tool.port}/note`));
  await api.must("PUT", "/api/v2/mcp-servers/notes", { url: mcp.url });
  for (const each of agents) await api.must("PUT", `/api/v2/agents/${each.id}`, each);
  for (const each of orchestrations) await api.must("PUT", `/api/v2/orchestrations/${each.id}`, each);

  const objectStore = withS3 ? await startObjectStore(dir, edgeBuild, settings) : null;
  if (objectStore) onStop(() => endProgram(objectStore.program));
  const points = new Points(join(dir, "points"));
  const deaths: Death[] = [];
  const workers: ManagedWorker[] = [];
  const supervised: Promise<void>[] = [];
  for (let number = 1; number <= count; number++) {
    const env = {
      [POINTS_FOLDER]: points.folder,
      REDIS_URL: await throughLink(`worker-${number}-redis`, redis.url),
      SCALE_POSTGRES_URL: await throughLink(`worker-${number}-postgres`, postgres.url),
      // Migrations pass no link: they are not tested here, and a worker that starts needs its schema.
      SCALE_POSTGRES_DIRECT_URL: postgres.url,
      WORKER_CONCURRENCY: String(SLOTS),
      WORKER_DRAIN_SECONDS: "0",
      WORKER_HEALTH_PORT: "0",
      QUEUE_SHARDS: "1",
      EVENT_SHARDS: "2",
      OPENAI_COMPATIBLE_BASE_URL: `http://127.0.0.1:${model.port}/v1`,
      MASTER_KEY: secrets.master_key,
      EGRESS_ALLOW: "127.0.0.0/8",
      ...objectStore?.env,
      ...workerEnv,
    };
    const member = new ManagedWorker(`worker-${number}`, env, deaths);
    workers.push(member);
    supervised.push(member.keepRunning());
  }
  onStop(async () => {
    await Promise.all(workers.map((member) => member.end()));
    await Promise.all(supervised);
  });
  for (let tries = 0; workers.some((member) => !member.alive); tries++) {
    if (tries > 1_200) throw new Error("the workers did not start within 120 s");
    await sleep(100);
  }
  await untilListed(api);
  return {
    api,
    postgres,
    redis,
    edge,
    rest,
    objectStore: objectStore?.program ?? null,
    links,
    workers,
    points,
    deaths,
    model,
    tool,
    mcp,
    receiver,
  };
}

const McpView = z.looseObject({ listing: z.looseObject({ state: z.string() }) });

/** Waits until a worker has listed the tools of the MCP server: before, no step can call them. */
async function untilListed(api: Api): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const { body } = await api.call("GET", "/api/v2/mcp-servers/notes");
    if (McpView.safeParse(body).data?.listing.state === "listed") return;
    await sleep(100);
  }
  throw new Error("no worker has listed the MCP server within 60 s");
}

/** Starts the object store. `env`: the variables with which a worker reaches it. */
async function startObjectStore(
  dir: string,
  build: EdgeBuild,
  edge: EdgeSettings,
): Promise<{ program: Program; env: Record<string, string> }> {
  const settings: EdgeSettings = {
    ...edge,
    data: join(dir, "object-store"),
    ports: [await freePort(0)],
    s3Port: await freePort(0),
  };
  const { command, lastSocket } = edgeCommand(build, settings, new URL(settings.postgresUrl).host);
  const ready = { event: "listen", socket: lastSocket };
  const { program } = await startProgram("object-store", command, ready, 30_000);
  const s3 = s3Of(build, settings, false);
  const env = {
    S3_ENDPOINT: s3.endpoint,
    S3_BUCKET: s3.bucket,
    S3_REGION: s3.region,
    S3_ACCESS_KEY_ID: s3.access_key_id,
    S3_SECRET_ACCESS_KEY: s3.secret_access_key,
  };
  return { program, env };
}
