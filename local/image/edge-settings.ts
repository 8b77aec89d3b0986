/** The settings of the self-hosted edge, from its environment. */
import { z } from "zod";
import { readConfig, variableNames } from "../../edge/env.ts";
import { givenVariables } from "../../shared/given-variables.ts";
import { postgresUrl } from "../../worker-node/clients/postgres-url.ts";
import type { EdgeBuild } from "../edge/build.ts";
import type { EdgeSettings } from "../edge/workerd-config.ts";

const required = (name: string, example: string) => z.string(`${name} is not set: write ${example}`);

const port = (name: string, fallback: number) => {
  const sentence = `${name} must be a port number from 1 to 65535`;
  return z.coerce
    .number(sentence)
    .refine((value) => Number.isInteger(value) && value >= 1 && value <= 65_535, sentence)
    .default(fallback);
};

const Env = z.object({
  SCALE_POSTGRES_URL: postgresUrl("SCALE_POSTGRES_URL"),
  /** The Worker checks it too, but wrangler.toml has a default for development, which would hide that it is not set. */
  UPSTASH_REDIS_REST_URL: required("UPSTASH_REDIS_REST_URL", "http://redis-rest:8079"),
  /** Workers and the REST front read it. The edge would take the sentinel itself for Redis, and its streams would be late for ever. */
  REDIS_SENTINEL_NAME: z
    .undefined(
      "REDIS_SENTINEL_NAME is not for an edge: leave it out, and give REDIS_URL the address that leads to the master",
    )
    .optional(),
  EDGE_HOST: z.string().default("0.0.0.0"),
  EDGE_PORT: port("EDGE_PORT", 8123),
  EDGE_S3_PORT: port("EDGE_S3_PORT", 8333),
  EDGE_DATA_DIR: z.string().default("/data"),
  S3_ACCESS_KEY_ID: required(
    "S3_ACCESS_KEY_ID",
    "the name under which workers reach the edge's object store",
  ),
  S3_SECRET_ACCESS_KEY: required("S3_SECRET_ACCESS_KEY", "the secret of that name: openssl rand -hex 32"),
});

/** The settings of the edge in an image. @throws Error with a line for each wrong variable that says what to write instead */
export function readEdgeSettings(env: NodeJS.ProcessEnv, build: EdgeBuild): EdgeSettings {
  const given = givenVariables(env);
  const parsed = Env.safeParse(given);
  if (!parsed.success) throw new Error(parsed.error.issues.map(({ message }) => message).join("\n"));
  const { data } = parsed;
  const vars = {
    // Miniflare's Hyperdrive drops `?prepare=false`.
    ...(new URL(data.SCALE_POSTGRES_URL).searchParams.get("prepare") === "false" && {
      PREPARE_STATEMENTS: "0",
    }),
    ...Object.fromEntries(
      variableNames.flatMap((name) => (given[name] === undefined ? [] : [[name, given[name]]])),
    ),
  };
  readConfig({ ...build.options.bindings, ...vars });
  return {
    data: data.EDGE_DATA_DIR,
    host: data.EDGE_HOST,
    ports: [data.EDGE_PORT],
    s3Port: data.EDGE_S3_PORT,
    s3: { accessKeyId: data.S3_ACCESS_KEY_ID, secretAccessKey: data.S3_SECRET_ACCESS_KEY },
    postgresUrl: data.SCALE_POSTGRES_URL,
    vars,
  };
}
