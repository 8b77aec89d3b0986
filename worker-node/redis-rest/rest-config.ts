/** The settings of the REST front, from its environment. */
import { z } from "zod";
import { originList } from "../../shared/contracts/origin.ts";
import { givenVariables } from "../../shared/given-variables.ts";
import { parseRedisUrl, RedisEnv, type RedisTarget } from "../clients/redis-url.ts";

const portSentence = "REDIS_REST_PORT is a port number from 0 to 65535 (0: any free one)";

const timeoutSentence = "REDIS_REST_TIMEOUT_SECONDS is a number of seconds from 1 to 3600";

const RestEnv = RedisEnv.extend({
  REDIS_REST_TOKEN: z.string(
    "REDIS_REST_TOKEN is missing: write a long random word, the same that clients send",
  ),
  REDIS_REST_READONLY_TOKEN: z.string().optional(),
  REDIS_REST_PORT: z
    .string()
    .regex(/^\d{1,5}$/, portSentence)
    .transform(Number)
    .refine((port) => port <= 65_535, portSentence)
    .default(8079),
  REDIS_REST_HOST: z.string().default("127.0.0.1"),
  REDIS_REST_TIMEOUT_SECONDS: z.coerce
    .number(timeoutSentence)
    .min(1, timeoutSentence)
    .max(3_600, timeoutSentence)
    .default(60),
  REDIS_REST_CORS_ORIGINS: originList("REDIS_REST_CORS_ORIGINS ").prefault(""),
});

/** The settings of the REST front. */
export interface RestConfig {
  target: RedisTarget;
  token: string;
  /** A second token that may only read. Undefined: there is none. */
  readOnlyToken?: string | undefined;
  host: string;
  port: number;
  /** A command without a reply for this long is given up: its outcome is unknown. */
  timeoutMs: number;
  /** Origins whose pages may call, `*`: any. Empty: a browser's page gets no access. */
  origins: readonly string[];
}

/**
 * Parses the environment.
 *
 * @throws Error with one sentence for each wrong value, which says what to write
 */
export function readRestConfig(env: NodeJS.ProcessEnv): RestConfig {
  const parsed = RestEnv.safeParse(givenVariables(env));
  if (!parsed.success) throw new Error(parsed.error.issues.map((issue) => issue.message).join("\n"));
  const {
    REDIS_REST_TOKEN,
    REDIS_REST_READONLY_TOKEN,
    REDIS_REST_HOST,
    REDIS_REST_PORT,
    REDIS_REST_TIMEOUT_SECONDS,
    REDIS_REST_CORS_ORIGINS,
    ...redis
  } = parsed.data;
  if (REDIS_REST_READONLY_TOKEN === REDIS_REST_TOKEN)
    throw new Error("REDIS_REST_READONLY_TOKEN is the same as REDIS_REST_TOKEN: it would not only read");
  return {
    target: parseRedisUrl(redis),
    token: REDIS_REST_TOKEN,
    readOnlyToken: REDIS_REST_READONLY_TOKEN,
    host: REDIS_REST_HOST,
    port: REDIS_REST_PORT,
    timeoutMs: REDIS_REST_TIMEOUT_SECONDS * 1_000,
    origins: REDIS_REST_CORS_ORIGINS,
  };
}
