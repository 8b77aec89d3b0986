/** Pages in browsers call the API from another origin. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startApp, type TestApp } from "../app.ts";

const LISTED = "https://app.example";
let listed: TestApp;
let open: TestApp;
beforeAll(async () => {
  [listed, open] = await Promise.all([startApp({ CORS_ORIGINS: LISTED }), startApp()]);
});
afterAll(() => Promise.all([listed.stop(), open.stop()]));

const preflight = (app: TestApp, origin: string, requested: string) =>
  app.call("OPTIONS", "/api/v2/events/stream", {
    key: null,
    headers: {
      origin,
      "access-control-request-method": "GET",
      "access-control-request-headers": requested,
    },
  });

describe("a page of a listed origin", () => {
  test.each(["cache-control", "last-event-id,authorization", "x-requested-with, traceparent"])(
    "may send the headers that its library adds: %s",
    async (requested) => {
      const { status, headers } = await preflight(listed, LISTED, requested);
      expect([status, headers.get("access-control-allow-origin")]).toEqual([204, LISTED]);
      const allowed = headers.get("access-control-allow-headers")?.toLowerCase().split(/, */) ?? [];
      expect(allowed).toEqual(expect.arrayContaining(requested.split(/, */)));
    },
  );

  // Fails when a page can request a part of an artifact and cannot read which part the response has.
  test("may read the headers of a partial response", async () => {
    const { headers } = await listed.call("GET", "/livez", { headers: { origin: LISTED } });
    const exposed = headers.get("access-control-expose-headers")?.split(",");
    expect(exposed).toEqual(expect.arrayContaining(["Content-Range", "Accept-Ranges", "ETag"]));
  });

  test("may open a stream with credentials", async () => {
    const { headers } = await preflight(listed, LISTED, "cache-control");
    expect(headers.get("access-control-allow-credentials")).toBe("true");
    const answer = await listed.call("GET", "/api/v2/events/stream", { headers: { origin: LISTED } });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("access-control-allow-origin")).toBe(LISTED);
    expect(answer.headers.get("access-control-allow-credentials")).toBe("true");
    await answer.body?.cancel();
  });
});

test("a page of another origin gets no access", async () => {
  const { headers } = await preflight(listed, "https://other.example", "cache-control");
  expect(headers.get("access-control-allow-origin")).toBe(null);
  expect(headers.get("access-control-allow-credentials")).toBe(null);
});

test("with every origin allowed, credentials are not: browsers refuse that", async () => {
  const { headers } = await preflight(open, LISTED, "cache-control");
  expect(headers.get("access-control-allow-origin")).toBe("*");
  expect(headers.get("access-control-allow-credentials")).toBe(null);
});
