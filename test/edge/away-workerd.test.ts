/** What the built Worker says while a store is away: in real workerd, whose sockets fail in their own ways. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { fastestMs } from "../services/fastest.ts";
import { startEdge, type Edge } from "../workerd/edge.ts";

let edge: Edge;
beforeAll(async () => {
  edge = await startEdge();
});
afterAll(() => edge.stop());
const comeBack = async () => {
  await edge.postgres.listen();
  edge.postgres.set("open");
};
beforeEach(async () => {
  await comeBack();
  edge.redis.set("open");
});

const RUN = "/api/v2/orchestrations/orch_smoke/run";
const at = (run: string, rest: string) => `/api/v2/orchestrations/runs/${run}/${rest}`;

// Red when: workerd's own words for a closed port are not known as those of a database that is away.
describe.each(["refuse", "hang", "close"] as const)("while Postgres is away (%s)", (mode) => {
  const leave = async () => (mode === "close" ? edge.postgres.close() : edge.postgres.set(mode));

  // Red when: `KeptDatabase` does not probe: the first finds the intake's kept connection hung, and nobody told it so.
  test("everything answers 503 database_away with Retry-After, within about a second", async () => {
    const run = await edge.start();
    await leave();
    for (const [method, path, body] of [
      ["POST", RUN, {}],
      ["GET", at(run, "status"), undefined],
      ["GET", at(run, "why"), undefined],
      ["POST", at(run, "cancel"), undefined],
      ["POST", at(run, "retry"), undefined],
      ["GET", "/scale/dlq", undefined],
      ["POST", RUN, {}],
    ] as const) {
      const tookMs = await fastestMs(1_500, async () => {
        const answer = await edge.call(method, path, { ...(body && { body }) });
        expect([path, answer.status]).toEqual([path, 503]);
        expect(answer.headers.get("retry-after")).toBe("2");
        expect(await answer.json()).toMatchObject({ code: "database_away" });
      });
      // No request waits for a query to be given up, which takes 2 s.
      expect(tookMs).toBeLessThan(1_500);
    }
  }, 60_000);

  test("a stream is 200 and asks to come back, and is whole when Postgres is back", async () => {
    const run = await edge.start();
    await leave();
    const tookMs = await fastestMs(2_500, async () => {
      const answer = await edge.call("GET", at(run, "stream"));
      expect([answer.status, await answer.text()]).toEqual([200, "retry: 1000\n\n"]);
    });
    expect(tookMs).toBeLessThan(2_500);
    await comeBack();
    expect((await edge.call("POST", at(run, "cancel"))).status).toBe(200);
    expect(await (await edge.call("GET", at(run, "stream"))).text()).toContain('"type":"done"');
  }, 30_000);
});

test("while Redis is away a run is accepted and can be cancelled, and a stream is served", async () => {
  await edge.world.service.stop();
  let run = "";
  const tookMs = await fastestMs(3_500, async () => {
    run = await edge.start();
  });
  expect(tookMs).toBeLessThan(3_500);
  const stream = await edge.call("GET", at(run, "stream"));
  expect(await (await edge.call("POST", at(run, "cancel"))).json()).toEqual({
    status: "cancelled",
    run_id: run,
  });
  expect(await stream.text()).toContain('"type":"done"');
}, 30_000);
