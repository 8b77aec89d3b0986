/** The settings of the REST front, from its environment. */
import { z } from "zod";
import { parseRedisUrl, RedisEnv, type RedisTarget } from "../clients/redis-url.ts";

const portSentence = "REDIS_REST_PORT is a port number from 0 to 65535 (0: any free one)";

const RestEnv = RedisEnv.extend({
  REDIS_REST_TOKEN: z
    .string("REDIS_REST_TOKEN is missing: write a long random word, the same that clients send")
    .min(1, "REDIS_REST_TOKEN is empty: write a long random word, the same that clients send"),
  REDIS_REST_PORT: z
    .string()
    .regex(/^\d{1,5}$/, portSentence)
    .transform(Number)
    .refine((port) => port <= 65_535, portSentence)
    .default(8079),
  REDIS_REST_HOST: z
    .string()
    .min(1, "REDIS_REST_HOST is an address to listen on, as 127.0.0.1")
    .default("127.0.0.1"),
});

export interface RestConfig {
  target: RedisTarget;
  token: string;
  host: string;
  port: number;
}

/**
 * Parses the environment.
 *
 * @throws Error with one sentence for each wrong value, which says what to write
 */
export function readRestConfig(env: NodeJS.ProcessEnv): RestConfig {
  const parsed = RestEnv.safeParse(env);
  if (!parsed.success) throw new Error(parsed.error.issues.map((issue) => issue.message).join("\n"));
  const { REDIS_REST_TOKEN: token, REDIS_REST_HOST: host, REDIS_REST_PORT: port, ...redis } = parsed.data;
  return { target: parseRedisUrl(redis), token, host, port };
}
