/** The built Worker in a real workerd, on stores of this test. */
import { z } from "zod";
import { createTestHarness } from "wrangler";
import { Proxy } from "./proxy.ts";
import { MASTER_KEY, SMOKE, startTestStores, type TestStores } from "../edge/test-stores.ts";

export type Edge = {
  base: string;
  stores: TestStores;
  /** Proxies between the edge and its stores. */
  postgres: Proxy;
  redis: Proxy;
  /** A platform key with all scopes. */
  platformKey: string;
  call(
    method: string,
    path: string,
    options?: { key?: string; body?: unknown; headers?: Record<string, string> },
  ): Promise<Response>;
  /** Starts a run of the smoke orchestration. @returns its id */
  start(body?: Record<string, unknown>): Promise<string>;
  logs(): string;
  stop(): Promise<void>;
};

export async function startEdge(eventShards = 1): Promise<Edge> {
  const stores = await startTestStores(eventShards);
  const [postgres, redis] = [proxyOf(stores.postgresUrl), proxyOf(stores.service.url)];
  const vars = {
    ...stores.vars,
    MASTER_KEY,
    REDIS_URL: `redis://127.0.0.1:${await redis.listen()}`,
  };
  const postgresUrl = new URL(stores.postgresUrl);
  postgresUrl.host = `127.0.0.1:${await postgres.listen()}`;
  process.env.CLOUDFLARE_HYPERDRIVE_LOCAL_CONNECTION_STRING_HYPERDRIVE = postgresUrl.href;
  process.env.WRANGLER_SEND_METRICS = "false";
  process.env.WRANGLER_WRITE_LOGS = "false";
  process.env.CLOUDFLARE_CF_FETCH_ENABLED = "false";
  const configPath = new URL("../../wrangler.toml", import.meta.url);
  const server = createTestHarness({ workers: [{ configPath, vars, secrets: vars }] });
  const { url } = await server.listen();
  const base = url.origin;
  const platformKey = await stores.key(null);

  const call: Edge["call"] = (method, path, { key = platformKey, body, headers = {} } = {}) =>
    fetch(base + path, {
      method,
      headers: {
        ...(key && { authorization: `Bearer ${key}` }),
        ...(body !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });

  const saved = await call("PUT", "/api/v2/orchestrations/orch_smoke", { body: SMOKE });
  if (!saved.ok) throw new Error(`PUT answered ${saved.status}: ${await saved.text()}`);

  return {
    base,
    stores,
    postgres,
    redis,
    platformKey,
    call,
    async start(body = {}) {
      const answer = await call("POST", "/api/v2/orchestrations/orch_smoke/run", {
        body: { message: "hi", ...body },
      });
      if (answer.status !== 202) throw new Error(`POST answered ${answer.status}: ${await answer.text()}`);
      return z.object({ run_id: z.string() }).parse(await answer.json()).run_id;
    },
    logs: () => JSON.stringify(server.getLogs()),
    async stop() {
      await server.close();
      await Promise.all([postgres.close(), redis.close()]);
      await stores.stop();
    },
  };
}

function proxyOf(url: string): Proxy {
  const { hostname, port } = new URL(url);
  return new Proxy(Number(port), hostname);
}
