/** `POST /scale/test-redis` and `test-postgres` for a store that is not the edge's own, from workerd. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { startEdge } from "./edge.ts";
import type { Edge } from "./edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge(1, { EGRESS_ALLOW: "127.0.0.1" });
});
afterAll(() => edge.stop());

// Fails when the answer is that of a connection that was closed: it does not say what the operator can repair.
test.each([
  ["redis", { redis_url: "redis://u:canary@127.0.0.1:1" }],
  ["postgres", { postgres_url: "postgres://u:canary@127.0.0.1:1/d" }],
])(
  "the test of %s says of a closed port that nothing listens there",
  async (name, body) => {
    const response = await edge.call("POST", `/scale/test-${name}`, { body });
    expect([response.status, await response.json()]).toEqual([
      200,
      {
        status: "error",
        message: "The host cannot be reached: its name is unknown, or nothing listens on this port.",
      },
    ]);
  },
  60_000,
);
