/**
 * A deploy replaces the edge's objects under its viewers. An EventSource does not reconnect after an error status, so it gets
 * none.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createApp } from "../../../edge/app.ts";
import { openServices } from "../../../edge/services.ts";
import { runPath, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
let run: string;
beforeAll(async () => {
  app = await startApp();
  run = await startRun(app);
});
afterAll(() => app.stop());

const SEVERAL = "/api/v2/events/stream";
const context = { waitUntil: () => {}, passThroughOnException: () => {}, props: {} };
const isReplaced = async () => {
  throw new Error("Durable Object reset because its code was updated.");
};
/** A Durable Object of the edge whose every call fails. */
const replaced = { getByName: () => ({ fetch: isReplaced, read: isReplaced, execute: isReplaced }) };

/** The response to a request while the objects `broken` of the edge are broken. */
async function get(path: string, broken: Record<string, unknown>, withDatabase: boolean): Promise<Response> {
  const edge = createApp((env, waitUntil) => {
    const services = openServices(env, waitUntil);
    return withDatabase ? Object.defineProperty(services, "sql", { value: app.stores.sql }) : services;
  });
  const headers = { authorization: `Bearer ${app.platformKey}` };
  return edge.request(path, { headers }, { ...app.stores.vars, ...broken }, context);
}

const streams = () => [runPath(run, "stream"), `${SEVERAL}?runs=${run}`, SEVERAL];

async function expectRetry(response: Response): Promise<void> {
  expect([response.status, response.headers.get("content-type")]).toEqual([
    200,
    "text/event-stream; charset=utf-8",
  ]);
  expect(await response.text()).toBe("retry: 1000\n\n");
}

describe("a viewer that comes while a deploy replaces", () => {
  // Fails when an object's failure is answered with an error.
  test("the object that serves its stream is asked to reconnect, on every kind of stream", async () => {
    for (const path of streams())
      await expectRetry(await get(path, { RELAY: replaced, FEED: replaced }, true));
  });

  test("the object that keeps the connections to Postgres is asked to reconnect", async () => {
    for (const path of streams()) await expectRetry(await get(path, { DATABASE: replaced }, false));
  });
});

describe("a statement that Postgres gives up for a lock, a deadlock or its time", () => {
  // The key is in the isolate's cache, so that the first statement that fails is that of the stream itself.
  test.each(["55P03", "40P01", "57014"])(
    "(%s) asks a viewer to come back, and other requests get 503",
    async (code) => {
      const reply = async () => ({
        ok: false,
        name: "PostgresError",
        message: "canceled",
        code,
        retryAfterSeconds: null,
      });
      const DATABASE = { getByName: () => ({ read: reply, execute: reply }) };
      for (const path of [runPath(run, "stream"), `${SEVERAL}?runs=${run}`])
        await expectRetry(await get(path, { DATABASE }, false));
      const status = await get(runPath(run, "status"), { DATABASE }, false);
      expect(status.status).toBe(503);
      expect(status.headers.get("retry-after")).not.toBeNull();
    },
  );
});
