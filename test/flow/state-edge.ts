/** The edge's internal route over HTTP, for workers that reach Postgres through the edge. */
import { createServer } from "node:http";
import { createApp } from "../../edge/app.ts";
import { openServices } from "../../edge/services.ts";
import type { Fleet } from "./fleet.ts";

const SECRET = "state-secret-of-32-characters-000";

/** Starts the route's server. @returns the environment of a worker that uses it, a count of its requests, and `close`, which ends it */
export async function startStateEdge(fleet: Pick<Fleet, "redisUrl" | "databaseUrl" | "sql">) {
  const variables = {
    UPSTASH_REDIS_REST_URL: "http://127.0.0.1:1",
    UPSTASH_REDIS_REST_TOKEN: "unused",
    REDIS_URL: fleet.redisUrl,
    STREAM_TOKEN_SECRET: SECRET,
    STATE_SECRET: SECRET,
    HYPERDRIVE: { connectionString: fleet.databaseUrl },
  };
  // One pool instead of a connection for each request: Node does not close them with the request, as workerd does.
  const app = createApp((env, after) =>
    Object.defineProperty(openServices(env, after), "stateSql", { value: fleet.sql }),
  );
  const context = { waitUntil() {}, passThroughOnException() {}, props: {} };
  let requests = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      requests += 1;
      const headers = new Headers(
        Object.entries(request.headers).flatMap(([name, value]) =>
          typeof value === "string" ? [[name, value] as [string, string]] : [],
        ),
      );
      const init = { method: request.method ?? "GET", headers, body: Buffer.concat(chunks) };
      void Promise.resolve(app.request(request.url ?? "/", init, variables, context)).then(async (reply) => {
        response.writeHead(reply.status, Object.fromEntries(reply.headers));
        response.end(Buffer.from(await reply.arrayBuffer()));
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    env: { STATE_URL: `http://127.0.0.1:${port}`, STATE_SECRET: SECRET, SCALE_POSTGRES_URL: "" },
    requests: () => requests,
    close: () => void server.close(),
  };
}
