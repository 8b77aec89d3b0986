import type { Server } from "node:http";
import { afterEach, expect, test } from "vitest";
import { portOf, serveHealth } from "../../../worker-node/ops/health.ts";

let server: Server;
afterEach(() => server.close());

/** Asks a worker with this METRICS_TOKEN for its metrics. */
async function scrape(token: string | undefined, authorization?: string): Promise<Response> {
  const metrics = { text: async () => "synapse_slots 10\n", contentType: "text/plain", token };
  server = await serveHealth(0, () => Promise.reject(new Error("nobody asks")), metrics);
  const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
  return fetch(`http://127.0.0.1:${portOf(server)}/metrics`, { headers });
}

test("metrics are for who has the token", async () => {
  const answer = await scrape("a token", "Bearer a token");
  expect([answer.status, await answer.text()]).toEqual([200, "synapse_slots 10\n"]);
});

// Red when: a worker that was told of no token shows to everybody how much is run here, and for whom.
test.each([
  ["without a token", "a token", undefined, "send METRICS_TOKEN as Authorization: Bearer"],
  ["with another", "a token", "Bearer other", "send METRICS_TOKEN as Authorization: Bearer"],
  [
    "of a worker that has none",
    undefined,
    undefined,
    "set METRICS_TOKEN, and send it as Authorization: Bearer",
  ],
  ["of a worker that has none, with one", undefined, "Bearer undefined", "set METRICS_TOKEN"],
  ["of a worker that has none, with an empty one", undefined, "Bearer ", "set METRICS_TOKEN"],
])("metrics %s are a 401 that says what to do", async (_case, token, authorization, sentence) => {
  const answer = await scrape(token, authorization);
  expect(answer.status).toBe(401);
  expect(await answer.json()).toEqual({ detail: expect.stringContaining(sentence) });
});
