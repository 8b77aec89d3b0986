/** The REST front of Redis as a child process. The edge reaches any Redis through it. */
import { builtProgram, startUntilEvent } from "../processes/programs.ts";
import type { OwnService } from "../processes/child.ts";
import { z } from "zod";

const Listening = z.looseObject({ port: z.int().positive() });

/** Starts the REST front of `redisUrl` on `port`. It listens when this resolves. `signal` ends a start that is under way. */
export async function startRedisRest(
  redisUrl: string,
  token: string,
  port: number,
  signal?: AbortSignal,
): Promise<OwnService> {
  const env = { REDIS_URL: redisUrl, REDIS_REST_TOKEN: token, REDIS_REST_PORT: String(port) };
  const command = builtProgram("worker-node/redis-rest/main.ts", env);
  const program = await startUntilEvent("redis_rest.listening", "redis-rest", command, signal);
  const listening = Listening.parse(program.event).port;
  return { ...program, url: `http://127.0.0.1:${listening}`, port: listening };
}
