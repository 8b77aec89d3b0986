/**
 * The variables that one start gives to the edge and to the workers. They are in one file because most must be the same.
 */
import { z } from "zod";
import { readConfig, variableNames } from "../../edge/env.ts";
import type { EdgeBuild } from "../edge/build.ts";
import type { S3Facts } from "../edge/process.ts";
import type { Secrets } from "./secrets.ts";

/** The facts of a start that are known when its stores listen. */
type Known = {
  env: NodeJS.ProcessEnv;
  build: EdgeBuild;
  secrets: Secrets;
  postgresUrl: string;
  redisUrl: string;
  redisRestUrl: string;
};

/** The variables of the edge. `decided`: set by this start. `requested`: from the environment of `npm start`. */
export type EdgeVariables = { decided: Record<string, string>; requested: Record<string, string> };

/** The variables of the edge. @throws Error for a wrong value, with which the edge would answer 500 to every request */
export function edgeVariables(known: Known): EdgeVariables {
  const { env, build, secrets } = known;
  const decided = {
    ...sharedVariables(known),
    UPSTASH_REDIS_REST_URL: known.redisRestUrl,
    UPSTASH_REDIS_REST_TOKEN: secrets.rest_token,
    PREPARE_STATEMENTS: new URL(known.postgresUrl).searchParams.get("prepare") === "false" ? "0" : "1",
    STREAM_TOKEN_SECRET: secrets.stream_token_secret,
    METRICS_TOKEN: metricsTokenOf(known),
  };
  // An empty variable counts as not set.
  const names = variableNames.filter((name) => !(name in decided));
  const requested = Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
  readConfig({ ...build.options.bindings, ...requested, ...decided });
  return { decided, requested };
}

/** The token for the metrics of the edge and of the workers. */
export function metricsTokenOf({ env, secrets }: Pick<Known, "env" | "secrets">): string {
  return env.METRICS_TOKEN || secrets.metrics_token;
}

/** The variables of every worker, without its id and its health port. */
export function workerVariables(known: Known, s3: S3Facts, dataFolder: string) {
  return {
    ...sharedVariables(known),
    SCALE_POSTGRES_URL: known.postgresUrl,
    S3_ENDPOINT: s3.endpoint,
    S3_BUCKET: s3.bucket,
    S3_REGION: s3.region,
    S3_ACCESS_KEY_ID: s3.access_key_id,
    S3_SECRET_ACCESS_KEY: s3.secret_access_key,
    SYNAPSE_DATA_DIR: dataFolder,
    // Less than the grace that a child has at Ctrl-C.
    WORKER_DRAIN_SECONDS: "2",
    METRICS_TOKEN: metricsTokenOf(known),
    // Edges and workers of one start have one version, so all of them read coded lines.
    SHORT_EVENT_LINES: known.env.SHORT_EVENT_LINES ?? "2",
  };
}

/** The variables that must be the same for the edge and the workers. */
function sharedVariables({ env, build, secrets, redisUrl }: Known) {
  // wrangler.toml has the numbers of shards when the environment has none.
  const shards = (name: string): string =>
    env[name] || z.string().default("1").parse(build.options.bindings[name]);
  return {
    QUEUE_SHARDS: shards("QUEUE_SHARDS"),
    EVENT_SHARDS: shards("EVENT_SHARDS"),
    REDIS_URL: redisUrl,
    STATE_SECRET: secrets.state_secret,
    MASTER_KEY: secrets.master_key,
    // Runs on this machine may call servers on this machine.
    EGRESS_ALLOW: env.EGRESS_ALLOW ?? "127.0.0.0/8,::1/128",
  };
}
