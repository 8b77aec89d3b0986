import type { Server } from "node:http";
import { afterEach, expect, test } from "vitest";
import { portOf, serveHealth } from "../../../worker-node/ops/health-server.ts";

let server: Server;
afterEach(() => server.close());

/** Reads the metrics of a worker with this METRICS_TOKEN. */
async function scrape(token: string | undefined, authorization?: string): Promise<Response> {
  const metrics = { text: async () => "synapse_slots 10\n", contentType: "text/plain", token: () => token };
  server = await serveHealth(0, () => Promise.reject(new Error("not in this test")), metrics);
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  return fetch(`http://127.0.0.1:${portOf(server)}/metrics`, { headers });
}

test("metrics are served to a client with the token", async () => {
  const response = await scrape("a token", "Bearer a token");
  expect([response.status, await response.text()]).toEqual([200, "synapse_slots 10\n"]);
});

test("a port that another process has is named by its variable", async () => {
  await scrape(undefined);
  const metrics = { text: async () => "", contentType: "text/plain", token: () => undefined };
  const second = serveHealth(portOf(server), () => Promise.reject(new Error("not in this test")), metrics);
  await expect(second).rejects.toThrow(/^WORKER_HEALTH_PORT cannot be used: listen EADDRINUSE/);
});

// Fails when a scraper whose configuration writes the scheme in small letters, or names parameters, is refused (RFC 9110, 11.1).
test("the scheme is read in any case, and a query has no effect", async () => {
  expect((await scrape("a token", "bearer a token")).status).toBe(200);
  const get = (path: string) => fetch(`http://127.0.0.1:${portOf(server)}${path}`);
  const { status } = await get("/livez?verbose=1");
  expect([status, (await get("/metrics?format=prometheus")).status]).toEqual([200, 401]);
});

// Fails when a worker without METRICS_TOKEN serves its metrics to every client.
test.each([
  ["without a token", "a token", undefined, "send METRICS_TOKEN as Authorization: Bearer"],
  ["with another token", "a token", "Bearer other", "send METRICS_TOKEN as Authorization: Bearer"],
  [
    "of a worker that has none configured",
    undefined,
    undefined,
    "set METRICS_TOKEN, and send it as Authorization: Bearer",
  ],
  ["of a worker that has none configured, with a token", undefined, "Bearer undefined", "set METRICS_TOKEN"],
  ["of a worker that has none configured, with an empty token", undefined, "Bearer ", "set METRICS_TOKEN"],
])("metrics %s are a 401 with an instruction", async (_case, token, authorization, sentence) => {
  const response = await scrape(token, authorization);
  expect(response.status).toBe(401);
  expect(await response.json()).toEqual({ detail: expect.stringContaining(sentence) });
});

const HEALTH = {
  worker_id: "w-1",
  active_jobs: 0,
  max_jobs: 10,
  spare_jobs: 10,
  uptime: 1,
  loop_lag_ms: 0,
  status: "ok" as const,
  pg_connected: true,
  redis_connected: true,
  s3_connected: null,
  causes: {},
};

// Fails when every replica leaves the load balancer with a store that it can do without.
test.each([
  ["with all stores", {}, 200, 200],
  ["without Redis", { status: "degraded" as const, redis_connected: false }, 200, 503],
  ["without its object store", { status: "degraded" as const, s3_connected: false }, 200, 503],
  ["without Postgres", { status: "degraded" as const, pg_connected: false }, 503, 503],
  ["that drains", { status: "draining" as const }, 503, 503],
])(
  "a worker %s: /readyz reports whether it can work, /health whether all its parts work",
  async (_case, changes, ready, healthy) => {
    const metrics = { text: async () => "", contentType: "text/plain", token: () => undefined };
    server = await serveHealth(0, async () => ({ ...HEALTH, ...changes }), metrics);
    const get = (path: string) => fetch(`http://127.0.0.1:${portOf(server)}${path}`);
    expect([(await get("/readyz")).status, (await get("/health")).status]).toEqual([ready, healthy]);
  },
);
