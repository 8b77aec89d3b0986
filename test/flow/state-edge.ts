/** The edge's internal route over HTTP, for workers that reach their state through it. */
import { createServer } from "node:http";
import { createApp } from "../../edge/app.ts";
import { openServices } from "../../edge/services.ts";
import type { Fleet } from "./fleet.ts";

const SECRET = "state-secret-of-32-characters-000";

/** @returns what such a worker is started with, and how to end it. */
export async function startStateEdge(fleet: Pick<Fleet, "redisUrl" | "databaseUrl" | "sql">) {
  const variables = {
    UPSTASH_REDIS_REST_URL: "http://127.0.0.1:1",
    UPSTASH_REDIS_REST_TOKEN: "not asked",
    REDIS_URL: fleet.redisUrl,
    STREAM_TOKEN_SECRET: SECRET,
    STATE_SECRET: SECRET,
    HYPERDRIVE: { connectionString: fleet.databaseUrl },
  };
  // One pool instead of a connection for each request: Node does not close them with the request, as workerd does.
  const app = createApp((env, after) =>
    Object.defineProperty(openServices(env, after), "sql", { value: fleet.sql }),
  );
  const context = { waitUntil() {}, passThroughOnException() {}, props: {} };
  let asked = 0;
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      asked += 1;
      const headers = new Headers(
        Object.entries(request.headers).flatMap(([name, value]) =>
          typeof value === "string" ? [[name, value] as [string, string]] : [],
        ),
      );
      const init = { method: request.method ?? "GET", headers, body: Buffer.concat(chunks) };
      void Promise.resolve(app.request(request.url ?? "/", init, variables, context)).then(async (answer) => {
        response.writeHead(answer.status, Object.fromEntries(answer.headers));
        response.end(Buffer.from(await answer.arrayBuffer()));
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  return {
    env: { STATE_URL: `http://127.0.0.1:${port}`, STATE_SECRET: SECRET, SCALE_POSTGRES_URL: "" },
    asked: () => asked,
    close: () => void server.close(),
  };
}
