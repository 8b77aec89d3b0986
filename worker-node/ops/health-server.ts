import { hash, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { canWork } from "./read-health.ts";
import type { Health } from "./read-health.ts";

/**
 * Serves over HTTP:
 * - `/livez`: 200 while this process answers
 * - `/readyz`: 200 while it reaches Postgres and does not drain. Any other store makes the status `degraded`, and the answer stays 200
 * - `/health`: 200 only while it reaches all its stores and does not drain
 * - `/metrics`: only with the bearer `token`; without a configured token always 401
 *
 * @returns the server, listening
 * @throws Error that names the variable, when another process has the port
 */
export async function serveHealth(
  port: number,
  read: () => Promise<Health>,
  metrics: { text(): Promise<string>; contentType: string; token(): string | undefined },
): Promise<Server> {
  const server = createServer((request, response) => {
    const reply = (status: number, body: object): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
    };
    const [path] = (request.url ?? "").split("?");
    if (request.method !== "GET" && request.method !== "HEAD") {
      reply(405, { detail: "only GET is served here" });
    } else if (path === "/livez") {
      reply(200, { status: "ok" });
    } else if (path === "/health" || path === "/readyz") {
      read().then(
        (health) => {
          const isUp = path === "/readyz" ? canWork(health) : health.status === "ok";
          reply(isUp ? 200 : 503, health);
        },
        () => reply(503, { status: "degraded" }),
      );
    } else if (path === "/metrics") {
      const token = metrics.token();
      if (token === undefined) {
        reply(401, { detail: "set METRICS_TOKEN, and send it as Authorization: Bearer" });
        return;
      }
      if (!isSameText(bearerOf(request), token)) {
        reply(401, { detail: "send METRICS_TOKEN as Authorization: Bearer" });
        return;
      }
      metrics.text().then(
        (text) => response.writeHead(200, { "content-type": metrics.contentType }).end(text),
        () => reply(503, { detail: "the database cannot be reached" }),
      );
    } else {
      reply(404, { detail: "there is /health, /livez, /readyz and /metrics" });
    }
  });
  server.requestTimeout = 10_000;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", (cause: Error) =>
    reject(new Error(`WORKER_HEALTH_PORT cannot be used: ${cause.message}`, { cause })),
  );
  server.listen(port, resolve);
  await promise;
  return server;
}

/** The token of a request; the scheme is written in any case (RFC 9110, 11.1). */
function bearerOf({ headers }: IncomingMessage): string | undefined {
  return /^bearer (.*)$/i.exec(headers.authorization ?? "")?.[1];
}

/** Compares in constant time, so that the duration does not reveal how much of the token was right. */
function isSameText(received: string | undefined, expected: string): boolean {
  const digest = (text: string) => hash("sha256", text, "buffer");
  return timingSafeEqual(digest(received ?? ""), digest(expected));
}

/** The port on which a server listens; 0 when it does not listen on one. */
export function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}
