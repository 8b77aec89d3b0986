/** The responses of the built Worker while a store is unreachable, in a real workerd: its sockets fail in their own ways. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startEdge, type Edge } from "../workerd/edge.ts";

/** A request that waits for the time limit of a query is answered after this time at the earliest. */
const LIMIT_MS = 60_000;

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge(1, {}, { limits: { ACCEPT_MS: LIMIT_MS, POSTGRES_READ_MS: LIMIT_MS } });
});
afterAll(() => edge.stop());
const restorePostgres = async () => {
  await edge.postgres.listen();
  edge.postgres.set("open");
};
beforeEach(async () => {
  await restorePostgres();
  edge.redis.set("open");
});

const RUN = "/api/v2/orchestrations/orch_smoke/run";
const at = (run: string, rest: string) => `/api/v2/orchestrations/runs/${run}/${rest}`;

// Fails when workerd's own error for a closed port does not count as an unreachable database.
describe.each(["refuse", "hang", "close"] as const)("while Postgres is unreachable (%s)", (mode) => {
  const breakPostgres = async () => (mode === "close" ? edge.postgres.close() : edge.postgres.set(mode));

  // Fails when `DatabasePool` does not probe: the first request then waits for the intake's hung connection.
  test("every route returns 503 database_away with Retry-After before the time limit of a query", async () => {
    const run = await edge.start();
    await breakPostgres();
    for (const [method, path, body] of [
      ["POST", RUN, {}],
      ["GET", at(run, "status"), undefined],
      ["GET", at(run, "why"), undefined],
      ["POST", at(run, "cancel"), undefined],
      ["POST", at(run, "retry"), undefined],
      ["GET", "/scale/dlq", undefined],
      ["POST", RUN, {}],
    ] as const) {
      const begunMs = performance.now();
      const answer = await edge.call(method, path, { ...(body && { body }) });
      expect([path, answer.status]).toEqual([path, 503]);
      expect(performance.now() - begunMs).toBeLessThan(LIMIT_MS);
      expect(answer.headers.get("retry-after")).toBe("2");
      expect(await answer.json()).toMatchObject({ code: "database_away" });
    }
  });

  test("a stream is 200 and asks the client to reconnect, and is complete when Postgres is back", async () => {
    const run = await edge.start();
    const open = async () => {
      const answer = await edge.call("GET", at(run, "stream"));
      expect([answer.status, await answer.text()]).toEqual([200, "retry: 1000\n\n"]);
    };
    await edge.call("GET", at(run, "status"));
    await breakPostgres();
    const begunMs = performance.now();
    await open();
    expect(performance.now() - begunMs).toBeLessThan(LIMIT_MS);
    await restorePostgres();
    expect((await edge.call("POST", at(run, "cancel"))).status).toBe(200);
    expect(await (await edge.call("GET", at(run, "stream"))).text()).toContain('"type":"done"');
  });
});

test("while Redis is away a run is accepted and can be cancelled, and a stream is served", async () => {
  await edge.stores.service.stop();
  const run = await edge.start();
  const stream = await edge.call("GET", at(run, "stream"));
  expect(await (await edge.call("POST", at(run, "cancel"))).json()).toEqual({
    status: "cancelled",
    run_id: run,
  });
  expect(await stream.text()).toContain('"type":"done"');
});
