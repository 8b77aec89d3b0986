/** The responses of the built Worker while a store is unreachable, in a real workerd: its sockets fail in their own ways. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startEdge, type Edge } from "../workerd/edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
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
  test("every route returns 503 database_away with Retry-After within about a second", async () => {
    const run = await edge.start();
    await breakPostgres();
    const tooks: number[] = [];
    for (const [method, path, body] of [
      ["POST", RUN, {}],
      ["GET", at(run, "status"), undefined],
      ["GET", at(run, "why"), undefined],
      ["POST", at(run, "cancel"), undefined],
      ["POST", at(run, "retry"), undefined],
      ["GET", "/scale/dlq", undefined],
      ["POST", RUN, {}],
    ] as const) {
      const begun = performance.now();
      const answer = await edge.call(method, path, { ...(body && { body }) });
      tooks.push(performance.now() - begun);
      expect([path, answer.status]).toEqual([path, 503]);
      expect(answer.headers.get("retry-after")).toBe("2");
      expect(await answer.json()).toMatchObject({ code: "database_away" });
    }
    tooks.sort((a, b) => a - b);
    expect(tooks[3]).toBeLessThan(1_500);
    // No request waits for the 2 s after which a query fails.
    expect(tooks.at(-1)).toBeLessThan(1_950);
  }, 60_000);

  test("a stream is 200 and asks the client to reconnect, and is complete when Postgres is back", async () => {
    const run = await edge.start();
    await breakPostgres();
    const begun = performance.now();
    const answer = await edge.call("GET", at(run, "stream"));
    expect([answer.status, await answer.text()]).toEqual([200, "retry: 1000\n\n"]);
    expect(performance.now() - begun).toBeLessThan(2_500);
    await restorePostgres();
    expect((await edge.call("POST", at(run, "cancel"))).status).toBe(200);
    expect(await (await edge.call("GET", at(run, "stream"))).text()).toContain('"type":"done"');
  }, 30_000);
});

test("while Redis is unreachable a run is accepted and can be cancelled, and its stream is served", async () => {
  await edge.stores.service.stop();
  const begun = performance.now();
  const run = await edge.start();
  const tookMs = Math.round(performance.now() - begun);
  expect(tookMs).toBeLessThan(3_500);
  const stream = await edge.call("GET", at(run, "stream"));
  expect(await (await edge.call("POST", at(run, "cancel"))).json()).toEqual({
    status: "cancelled",
    run_id: run,
  });
  expect(await stream.text()).toContain('"type":"done"');
}, 30_000);
