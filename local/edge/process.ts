/** The edge as a child process: workerd for `npm start`, `wrangler dev` for `npm run dev`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { wranglerEnvironment, wranglerFile, type EdgeBuild } from "./build.ts";
import { startCron } from "./cron.ts";
import { openPostgresRoute } from "./postgres-route.ts";
import { simulatorFolders } from "./simulators.ts";
import { CRON, durableObjectsFolder, workerdConfig, type EdgeSettings } from "./workerd-config.ts";
import type { Command } from "../processes/child.ts";
import { startLimitMs, tooLate } from "../processes/start-limit.ts";
import { projectFolder, startProgram, startUntilEvent, type Program } from "../processes/programs.ts";

export type S3Facts = {
  endpoint: string;
  bucket: string;
  region: string;
  access_key_id: string;
  secret_access_key: string;
};

export type RunningEdges = Program & { bases: string[] };

const CronSocket = z.object({ port: z.int() });
const Workerd = z.object({ default: z.string() });

/** Starts one process of workerd with an edge on each of `settings.ports`. The edges listen when it resolves. */
export async function startEdgeProcess(
  build: EdgeBuild,
  settings: EdgeSettings,
  signal?: AbortSignal,
): Promise<RunningEdges> {
  const route = await openPostgresRoute(new URL(settings.postgresUrl));
  try {
    const { command, lastSocket } = edgeCommand(build, settings, route.address);
    const program = await startUntilEvent("listen", "edge", command, signal, { socket: lastSocket });
    void program.ended.then(() => route.close());
    startCron(`http://127.0.0.1:${CronSocket.parse(program.event).port}/`, program.ended);
    return { ...program, bases: settings.ports.map(baseOf) };
  } catch (error) {
    route.close();
    throw error;
  }
}

/**
 * Writes the configuration of workerd to the data folder, and returns the command that serves the edges with it. Only the
 * owner may read the file, because it holds the secrets.
 * @param postgres the address at which workerd reaches the database of `settings.postgresUrl`
 * @returns `lastSocket`: all edges listen when workerd has logged the event `listen` of this socket
 */
export function edgeCommand(
  build: EdgeBuild,
  settings: EdgeSettings,
  postgres: string,
): { command: Command; lastSocket: string } {
  for (const folder of [durableObjectsFolder(settings.data), ...simulatorFolders(settings.data)])
    mkdirSync(folder, { recursive: true });
  const config = join(settings.data, "workerd.capnp");
  writeFileSync(config, workerdConfig(build, settings, postgres), { mode: 0o600 });
  return {
    command: {
      command: Workerd.parse(createRequire(import.meta.url)("workerd")).default,
      // workerd reports on its standard output each socket that listens, in order. The simulators need --experimental.
      args: ["serve", "--experimental", "--control-fd=1", "-I", "/", config],
      cwd: projectFolder,
      // After SIGTERM workerd would wait for the streams of its viewers. SIGKILL is safe: its files are SQLite's, which survive it.
      stopSignal: "SIGKILL",
    },
    lastSocket: CRON,
  };
}

/**
 * Starts `wrangler dev` on the first port. It builds again when a file is saved.
 * @param envFile the file of its variables; null: the project's `.dev.vars`
 * @param requested variables of this start alone, which have precedence over the file. They must not be secrets, because other
 *   users of the machine can see the command line that holds them.
 */
export async function startWranglerDev(
  build: EdgeBuild,
  settings: EdgeSettings,
  envFile: string | null,
  requested: Record<string, string>,
  signal?: AbortSignal,
): Promise<RunningEdges> {
  const [port = 0] = settings.ports;
  const args = ["dev", "--ip", "127.0.0.1", "--port", String(port), "--inspector-port", "0"];
  const variables = Object.entries(requested).flatMap(([name, value]) => ["--var", `${name}:${value}`]);
  const program = startProgram("edge", {
    command: process.execPath,
    args: [
      wranglerFile(),
      ...args,
      ...(envFile === null ? [] : ["--env-file", envFile]),
      ...variables,
      "--show-interactive-dev-session=false",
      "--persist-to",
      settings.data,
    ],
    env: { ...process.env, ...wranglerEnvironment, [hyperdriveVariable(build)]: settings.postgresUrl },
    cwd: projectFolder,
  });
  const abandoned = new AbortController();
  void program.ended.then(() => abandoned.abort());
  signal?.addEventListener("abort", () => abandoned.abort(), { once: true });
  try {
    await untilAnswers(`${baseOf(port)}/livez`, abandoned.signal);
  } catch (error) {
    await program.stop();
    throw error;
  }
  return { ...program, bases: [baseOf(port)] };
}

function baseOf(port: number): string {
  return `http://localhost:${port}`;
}

/**
 * The S3 endpoint of the edges' bucket (path style). It is known before the edges start.
 * @param isDev whether `wrangler dev` serves it: on its own port, and with the keys of wrangler.toml
 */
export function s3Of(build: EdgeBuild, settings: EdgeSettings, isDev: boolean): S3Facts {
  const [bucket] = Object.values(build.options.r2Buckets);
  if (!bucket) throw new Error("wrangler.toml has no r2_buckets");
  const keys = isDev ? bucket.s3Credentials : settings.s3;
  if (!keys) throw new Error("wrangler.toml gives the bucket no local_dev.experimental_s3_credentials");
  const port = isDev ? settings.ports[0] : settings.s3Port;
  return {
    endpoint: `http://127.0.0.1:${port}/cdn-cgi/local/r2/s3`,
    bucket: bucket.id,
    region: "auto",
    access_key_id: keys.accessKeyId,
    secret_access_key: keys.secretAccessKey,
  };
}

/** The variable from which wrangler reads the database of the Hyperdrive binding. */
export function hyperdriveVariable(build: EdgeBuild): string {
  const [binding = "HYPERDRIVE"] = Object.keys(build.options.hyperdrives);
  return `CLOUDFLARE_HYPERDRIVE_LOCAL_CONNECTION_STRING_${binding}`;
}

/** Waits until `url` answers, with any status. @throws Error after `startLimitMs`, or when `abandoned` aborts */
async function untilAnswers(url: string, abandoned: AbortSignal): Promise<void> {
  const deadline = performance.now() + startLimitMs;
  for (; performance.now() < deadline && !abandoned.aborted; await sleep(50)) {
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) });
      await answer.body?.cancel();
      return;
    } catch {
      // It does not listen yet.
    }
  }
  throw abandoned.aborted
    ? new Error(`the edge ended before ${url} answered`)
    : tooLate(`an answer of ${url}`);
}
