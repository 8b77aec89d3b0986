/** A front of the test's own, in this process, and the ways to speak to it. */
import { randomBytes } from "node:crypto";
import { Redis as UpstashRedis, type RedisConfigNodejs } from "@upstash/redis";
import { parseRedisUrl, type RedisEnv } from "../../../worker-node/clients/redis.ts";
import { startRestFront } from "../../../worker-node/redis-rest/start.ts";

export interface Front {
  url: string;
  token: string;
  /** Names of what the front logged, in order. */
  events: string[];
  /** An answer to `POST path` with the right token and a JSON body; `init` may change all of that. */
  call(path: string, body?: unknown, init?: RequestInit): Promise<Answer>;
  /** A client of Upstash's SDK. */
  sdk(options?: Partial<RedisConfigNodejs>): UpstashRedis;
  stop(): Promise<void>;
}

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  json: unknown;
}

export async function startFront(redis: string | RedisEnv): Promise<Front> {
  const token = randomBytes(12).toString("hex");
  const target = parseRedisUrl(typeof redis === "string" ? { REDIS_URL: redis } : redis);
  const events: string[] = [];
  const front = await startRestFront({ target, token, host: "127.0.0.1", port: 0 }, (event) =>
    events.push(event),
  );
  const url = `http://127.0.0.1:${front.port}`;
  return {
    url,
    token,
    events,
    call: async (path, body, init = {}) => {
      const response = await fetch(url + path, {
        method: "POST",
        headers: { authorization: `Bearer ${token}` },
        signal: AbortSignal.timeout(10_000),
        ...(body !== undefined && { body: JSON.stringify(body) }),
        ...init,
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, text, json: parsed(text) };
    },
    sdk: (options = {}) => new UpstashRedis({ url, token, retry: false, ...options }),
    stop: () => front.stop(),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A key that no other test uses. */
export const newKey = () => `test:${randomBytes(8).toString("hex")}`;

/** Wait until `probe` holds, looking every 10 ms. */
export async function until(probe: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`not so within ${timeoutMs} ms: ${probe.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
