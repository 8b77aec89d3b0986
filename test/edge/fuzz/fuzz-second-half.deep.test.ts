import { afterAll, beforeAll, expect, test } from "vitest";
import { startApp } from "../app.ts";
import type { TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";
import { fuzzApi } from "./fuzz-api.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
});
afterAll(() => app.stop());

// Fails when a request ends in a 500, an answer has another shape than the document says, or a body that it forbids is served.
test("another 5,000 requests made from the API's document get answers that the document promises", async () => {
  const { wrong, served } = await fuzzApi(app, 5_000, 3);
  expect(wrong).toEqual([]);
  // Most requests have a fault; of the others enough must be served for the answers to mean something.
  expect(served).toBeGreaterThan(500);
}, 900_000);
