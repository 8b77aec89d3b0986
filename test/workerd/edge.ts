/** The built Worker in a real workerd, as `npm start` runs it, on stores of this test. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { startEdgeProcess } from "../../local/edge/process.ts";
import { freePort } from "../../local/processes/free-ports.ts";
import { MASTER_KEY, SMOKE, startTestStores, type TestStores } from "../edge/test-stores.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { builtEdge, edgeWithLimits, type EdgeLimits } from "../services/built-edge.ts";
import { until } from "../services/waiting.ts";
import { Proxy } from "./proxy.ts";

/** The keys of the bucket. */
const S3_KEYS = { accessKeyId: "test", secretAccessKey: "test" };

export type Edge = {
  base: string;
  /** The process of workerd. */
  pid: number;
  /** The S3 endpoint of the edge's bucket, as workers reach it. */
  s3: { endpoint: string } & typeof S3_KEYS;
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

/** `limits`: other limits than those of the product. Postgres then bounds no statement. */
export async function startEdge(
  eventShards = 1,
  more: Record<string, string> = {},
  { limits }: { limits?: EdgeLimits } = {},
): Promise<Edge> {
  const stores = await startTestStores(eventShards);
  if (limits !== undefined) await liftStatementLimits(stores.sql);
  const [postgres, redis] = [proxyOf(stores.postgresUrl), proxyOf(stores.service.url)];
  const vars = {
    ...stores.vars,
    MASTER_KEY,
    ...more,
    REDIS_URL: `redis://127.0.0.1:${await redis.listen()}`,
  };
  const postgresUrl = new URL(stores.postgresUrl);
  postgresUrl.host = `127.0.0.1:${await postgres.listen()}`;
  const data = mkdtempSync(join(tmpdir(), "synapse-edge-"));
  const [port, s3Port] = [await freePort(0), await freePort(0)];
  const build = await (limits === undefined ? builtEdge() : edgeWithLimits(data, limits));
  const edge = await startEdgeProcess(build, {
    data,
    ports: [port],
    s3Port,
    s3: S3_KEYS,
    postgresUrl: postgresUrl.href,
    vars,
  });
  let logs = "";
  for (const output of [edge.child.stdout, edge.child.stderr]) {
    output?.on("data", (bytes) => (logs += String(bytes)));
  }
  const base = `http://127.0.0.1:${port}`;
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

  // On a busy machine the first login may take too long: a client comes back after the 503.
  await until("the definition is saved", async () => {
    const saved = await call("PUT", "/api/v2/orchestrations/orch_smoke", { body: SMOKE });
    if (!saved.ok && saved.status !== 503)
      throw new Error(`PUT answered ${saved.status}: ${await saved.text()}`);
    return saved.ok;
  });

  return {
    base,
    pid: edge.child.pid ?? 0,
    s3: { endpoint: `http://127.0.0.1:${s3Port}/cdn-cgi/local/r2/s3`, ...S3_KEYS },
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
    logs: () => logs,
    async stop() {
      await edge.stop();
      await Promise.all([postgres.close(), redis.close()]);
      await stores.stop();
      rmSync(data, { recursive: true, force: true });
    },
  };
}

/** Statements on connections that are opened from now on have no time limit in Postgres. */
async function liftStatementLimits(sql: Sql): Promise<void> {
  const [names] = await sql<{ role: string; database: string }[]>`
    select current_user as role, current_database() as database`;
  if (!names) throw new Error("a select without from returned no row");
  for (const limit of ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]) {
    await sql`alter role ${sql(names.role)} in database ${sql(names.database)} set ${sql(limit)} = 0`;
  }
}

function proxyOf(url: string): Proxy {
  const { hostname, port } = new URL(url);
  return new Proxy(Number(port), hostname);
}
