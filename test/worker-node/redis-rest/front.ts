/** Starts a REST front in the test's process, with clients for it. */
import { randomBytes } from "node:crypto";
import { Redis as UpstashRedis, type RedisConfigNodejs } from "@upstash/redis";
import { parseRedisUrl } from "../../../worker-node/clients/redis-url.ts";
import type { RedisEnv } from "../../../worker-node/clients/redis-url.ts";
import { startRestFront } from "../../../worker-node/redis-rest/start-rest-front.ts";

export interface Front {
  url: string;
  token: string;
  /** Sends `POST path` with the right token and a JSON body; `init` may replace each of these. */
  call(path: string, body?: unknown, init?: RequestInit): Promise<FrontResponse>;
  /** A client of Upstash's SDK. */
  sdk(options?: Partial<RedisConfigNodejs>): UpstashRedis;
  stop(): Promise<void>;
}

export interface FrontResponse {
  status: number;
  headers: Headers;
  text: string;
  json: unknown;
}

/** A command that the front does not refuse at once has no reply within the time of a test. */
const NO_LIMIT_MS = 600_000;

export async function startFront(
  redis: string | RedisEnv,
  {
    timeoutMs = NO_LIMIT_MS,
    origins = [],
    readOnlyToken,
  }: { timeoutMs?: number; origins?: string[]; readOnlyToken?: string } = {},
): Promise<Front> {
  const token = randomBytes(12).toString("hex");
  const target = parseRedisUrl(typeof redis === "string" ? { REDIS_URL: redis } : redis);
  const front = await startRestFront({
    target,
    token,
    readOnlyToken,
    host: "127.0.0.1",
    port: 0,
    timeoutMs,
    origins,
  });
  const url = `http://127.0.0.1:${front.port}`;
  return {
    url,
    token,
    call: async (path, body, init = {}) => {
      const response = await fetch(url + path, {
        method: "POST",
        headers: { authorization: `Bearer ${token}` },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...init,
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, text, json: parseOrUndefined(text) };
    },
    sdk: (options = {}) => new UpstashRedis({ url, token, retry: false, ...options }),
    stop: () => front.stop(),
  };
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A key that no other test uses. */
export const newKey = () => `test:${randomBytes(8).toString("hex")}`;
