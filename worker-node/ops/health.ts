import { createHash, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";

/** What a worker says of itself; each `*_connected` is the outcome of a request made for this answer. */
export type Health = {
  status: "ok" | "degraded" | "draining";
  worker_id: string;
  active_jobs: number;
  max_jobs: number;
  uptime: number;
  loop_lag_ms: number;
  pg_connected: boolean;
  redis_connected: boolean;
  /** Null: no object store is configured. */
  s3_connected: boolean | null;
};

/**
 * Serves `/health`, `/livez` (this process answers), `/readyz` (it can take work) and `/metrics` (behind `token`; without
 * one for nobody). @returns the server, listening.
 */
export async function serveHealth(
  port: number,
  read: () => Promise<Health>,
  metrics: { text(): Promise<string>; contentType: string; token: string | undefined },
): Promise<Server> {
  const server = createServer((request, response) => {
    const answer = (status: number, body: object): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
    };
    if (request.method !== "GET" && request.method !== "HEAD") {
      answer(405, { detail: "only GET is served here" });
    } else if (request.url === "/livez") {
      answer(200, { status: "ok" });
    } else if (request.url === "/health" || request.url === "/readyz") {
      read().then(
        (health) => answer(health.status === "ok" ? 200 : 503, health),
        () => answer(503, { status: "degraded" }),
      );
    } else if (request.url === "/metrics") {
      if (metrics.token === undefined) {
        answer(401, { detail: "set METRICS_TOKEN, and send it as Authorization: Bearer" });
        return;
      }
      if (!sameText(request.headers.authorization, `Bearer ${metrics.token}`)) {
        answer(401, { detail: "send METRICS_TOKEN as Authorization: Bearer" });
        return;
      }
      metrics.text().then(
        (text) => response.writeHead(200, { "content-type": metrics.contentType }).end(text),
        () => answer(503, { detail: "the database cannot be reached" }),
      );
    } else {
      answer(404, { detail: "there is /health, /livez, /readyz and /metrics" });
    }
  });
  server.requestTimeout = 10_000;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(port, resolve);
  await promise;
  return server;
}

/** Compares without telling, by the time it takes, how much of it was right. */
function sameText(given: string | undefined, wanted: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given ?? ""), digest(wanted));
}

export function portOf(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** How long the event loop has been kept from its work, in the worst moment since the last question. */
export function measureLoopLag(): () => number {
  const histogram = monitorEventLoopDelay({ resolution: 20 });
  histogram.enable();
  return () => {
    const ms = Math.max(0, Math.round(histogram.max / 1e6) - 20);
    histogram.reset();
    return Number.isFinite(ms) ? ms : 0;
  };
}
