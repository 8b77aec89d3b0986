import { afterEach, describe, expect, test } from "vitest";
import { bodyOf, startApp, type TestApp } from "../app.ts";

let app: TestApp;
afterEach(() => app.stop());
const readyz = async () => {
  const answer = await app.call("GET", "/readyz", { key: null });
  return [answer.status, (await bodyOf(answer)).status];
};

describe("an edge without Redis", () => {
  test("is ready and degraded where it still accepts runs", async () => {
    app = await startApp();
    await app.stores.service.stop();
    expect(await readyz()).toEqual([200, "degraded"]);
    const { causes } = await bodyOf(await app.call("GET", "/health", { key: null }));
    expect(causes).toEqual({ redis: "unreachable" });
    expect((await app.call("POST", "/api/v2/orchestrations/orch_smoke/run", { body: {} })).status).toBe(202);
  });

  test("is not ready where it refuses runs then", async () => {
    app = await startApp({ ACCEPT_WHEN_REDIS_DOWN: "0" });
    await app.stores.service.stop();
    expect(await readyz()).toEqual([503, "degraded"]);
  });
});

// Fails when `/health` has no cause: an operator who deployed edges before workers would look for a fault of the network.
test("an edge before a database without its tables is not ready, and says why", async () => {
  app = await startApp();
  await app.stores.sql`alter table runs rename to runs_of_another_version`;
  const answer = await app.call("GET", "/readyz", { key: null });
  expect([answer.status, await bodyOf(answer)]).toMatchObject([
    503,
    { pg_connected: false, causes: { postgres: "not_migrated" } },
  ]);
});

test("an edge with both stores is ready; its health is read once a second, however many ask without a key", async () => {
  app = await startApp();
  // Each check calls one script of the queue.
  const scripts = async () =>
    Number(/cmdstat_evalsha:calls=([0-9]+)/.exec(await app.stores.redis.info("commandstats"))?.[1] ?? 0);
  expect(await readyz()).toEqual([200, "ok"]);
  const before = await scripts();
  expect(before).toBeGreaterThan(0);
  const answers = await Promise.all(
    Array.from({ length: 200 }, () => app.call("GET", "/health", { key: null })),
  );
  expect(answers.every(({ status }) => status === 200)).toBe(true);
  expect((await scripts()) - before).toBeLessThanOrEqual(3);
});

describe("a request to the internal route without a worker's signature", () => {
  // Fails when the body is read before the header: this body never ends.
  test.each([
    ["no signature", {}],
    ["a signature of no shape", { "x-synapse-signature": "t=1" }],
    [
      "a signature by another secret",
      {
        "x-synapse-signature": `t=${Math.floor(Date.now() / 1000)},h1=${"a".repeat(64)},v1=${"a".repeat(64)}`,
        "content-length": "15000000",
      },
    ],
  ])("is 401 before its body is read: %s", async (_what, headers) => {
    app = await startApp();
    const body = new ReadableStream({ pull: () => new Promise(() => {}) });
    const init: RequestInit = {
      method: "POST",
      headers: { "content-length": "15000000", ...headers },
      body,
      duplex: "half",
    };
    const answer = await app.app.request("/internal/state/3/flush", init, app.stores.vars, {
      waitUntil() {},
      passThroughOnException() {},
      props: {},
    });
    expect(answer.status).toBe(401);
  });
});
