/** The edge as a child process: Miniflare for `npm start`, `wrangler dev` for `npm run dev`. */
import { setTimeout as sleep } from "node:timers/promises";
import { wranglerEnvironment, wranglerFile, type EdgeBuild } from "./build.ts";
import type { EdgeSettings } from "./miniflare.ts";
import { startLimitMs, tooLate } from "../processes/start-limit.ts";
import { nodeProgram, projectFolder, startProgram, startUntilEvent } from "../processes/programs.ts";
import type { Program } from "../processes/programs.ts";

export type S3Facts = {
  endpoint: string;
  bucket: string;
  region: string;
  access_key_id: string;
  secret_access_key: string;
};

export type RunningEdges = Program & { bases: string[] };

/** Starts one process with an edge on each of `settings.ports`. The edges listen when this resolves. */
export async function startEdgeProcess(settings: EdgeSettings, signal?: AbortSignal): Promise<RunningEdges> {
  const command = nodeProgram("local/edge/main.ts", { SYNAPSE_EDGE: JSON.stringify(settings) });
  const program = await startUntilEvent("edge.listening", "edge", command, signal);
  return { ...program, bases: settings.ports.map(baseOf) };
}

/**
 * Starts `wrangler dev` on the first port. It builds again when a file is saved, and reads its variables from
 * `.dev.vars`.
 * @param requested variables of this start alone, which come before those of the file. They are on the command
 * line, which other users see, so they must not be secrets.
 */
export async function startWranglerDev(
  build: EdgeBuild,
  settings: EdgeSettings,
  requested: Record<string, string>,
  signal?: AbortSignal,
): Promise<RunningEdges> {
  const [port = 0] = settings.ports;
  const args = ["dev", "--ip", "127.0.0.1", "--port", String(port), "--inspector-port", "0"];
  const variables = Object.entries(requested).flatMap(([name, value]) => ["--var", `${name}:${value}`]);
  const program = startProgram("edge", {
    command: process.execPath,
    args: [
      wranglerFile,
      ...args,
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
 * The S3 endpoint of the edges' bucket (path style). Known before the edges start. `wrangler dev` serves it on its
 * own port and with the keys of wrangler.toml.
 */
export function s3Of(build: EdgeBuild, settings: EdgeSettings, dev: boolean): S3Facts {
  const [bucket] = Object.values(build.options.r2Buckets);
  if (!bucket) throw new Error("wrangler.toml has no r2_buckets");
  const keys = dev ? bucket.s3Credentials : settings.s3;
  if (!keys) throw new Error("wrangler.toml gives the bucket no local_dev.experimental_s3_credentials");
  const port = dev ? settings.ports[0] : settings.s3Port;
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
