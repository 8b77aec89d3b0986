/** Clients that stop in a body: a request with a valid key is held no longer than the limit of silence. */
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { MAX_SILENCE_MS } from "../../../edge/http/read-body.ts";
import { bodyOf, RUN, startApp, type TestApp } from "../app.ts";

const CANCEL = "/api/v2/orchestrations/runs/run_000000000000_1780499750067/cancel";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterEach(() => vi.unstubAllGlobals());
afterAll(() => app.stop());

/** Timers of that length end when the test says so, all others by the clock. */
function heldTimers(ms: number): (() => void)[] {
  const held: (() => void)[] = [];
  const { setTimeout: real } = globalThis;
  vi.stubGlobal("setTimeout", (act: () => void, after: number) =>
    after === ms ? held.push(act) : real(act, after),
  );
  return held;
}

/** A body whose client sends `parts`, each when it is read, and then nothing more. `stopped`: the edge waits for more. */
function stopping(parts: string[]): { body: ReadableStream<Uint8Array>; stopped: Promise<void> } {
  const { promise: stopped, resolve } = Promise.withResolvers<void>();
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const part = parts.shift();
      if (part !== undefined) return controller.enqueue(new TextEncoder().encode(part));
      resolve();
      return new Promise(() => {});
    },
  });
  return { body, stopped };
}

// Fails when such a client holds its request for ever.
test.each([
  ["a small body with a length", RUN, { "content-length": "1000" }],
  ["a large body with a length", RUN, { "content-length": "100000" }],
  ["a body without a length", RUN, {}],
  ["a body that its route does not read", CANCEL, { "content-length": "1000" }],
])("%s that stops is a 408 that ends the connection", async (_what, path, headers) => {
  const timers = heldTimers(MAX_SILENCE_MS);
  const { body, stopped } = stopping(['{"message":', '"x']);
  const answering = app.call("POST", path, { body, headers });
  await stopped;
  await expect.poll(() => timers.length).toBeGreaterThan(0);
  for (const end of timers) end();
  const answer = await answering;
  expect([answer.status, answer.headers.get("connection")]).toEqual([408, "close"]);
  expect(await bodyOf(answer)).toMatchObject({ code: "request_timeout" });
});

// Fails when a body is given up although its bytes come.
test("a body that comes in many parts is read whole", async () => {
  const parts = ['{"message":"', ...Array.from({ length: 100 }, () => "x".repeat(1_000)), '"}'];
  const body = ReadableStream.from(parts.map((part) => new TextEncoder().encode(part)));
  const headers = { "content-length": String(parts.join("").length) };
  expect((await app.call("POST", RUN, { body, headers })).status).toBe(202);
});
