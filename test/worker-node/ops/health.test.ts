import type { Server } from "node:http";
import { afterEach, expect, test } from "vitest";
import { portOf, serveHealth } from "../../../worker-node/ops/health-server.ts";

let server: Server;
afterEach(() => server.close());

/** Reads the metrics of a worker with this METRICS_TOKEN. */
async function scrape(token: string | undefined, authorization?: string): Promise<Response> {
  const metrics = { text: async () => "synapse_slots 10\n", contentType: "text/plain", token };
  server = await serveHealth(0, () => Promise.reject(new Error("not in this test")), metrics);
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  return fetch(`http://127.0.0.1:${portOf(server)}/metrics`, { headers });
}

test("metrics are served to a client with the token", async () => {
  const response = await scrape("a token", "Bearer a token");
  expect([response.status, await response.text()]).toEqual([200, "synapse_slots 10\n"]);
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
