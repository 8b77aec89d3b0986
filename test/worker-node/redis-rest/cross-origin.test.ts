/** A page in a browser calls the front. */
import { afterEach, describe, expect, inject, test } from "vitest";
import { startFront, type Front } from "./front.ts";

const ORIGIN = "https://app.example";
let front: Front;
afterEach(() => front.stop());

const preflight = () =>
  front.call("/pipeline", undefined, {
    method: "OPTIONS",
    headers: {
      origin: ORIGIN,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type,upstash-encoding,cache-control",
    },
  });

const ping = () =>
  front.call("/ping", undefined, { headers: { authorization: `Bearer ${front.token}`, origin: ORIGIN } });

describe("a page of a listed origin", () => {
  test.each([
    [[ORIGIN, "https://other.example"], ORIGIN],
    [["*"], "*"],
  ])("gets its preflight and its responses: %j", async (origins, allowed) => {
    front = await startFront(inject("redisUrl"), { origins });
    const { status, headers } = await preflight();
    expect([status, headers.get("access-control-allow-origin")]).toEqual([204, allowed]);
    expect(headers.get("access-control-allow-methods")).toContain("POST");
    expect(headers.get("access-control-allow-headers")).toContain("upstash-encoding");
    const response = await ping();
    expect([response.status, response.headers.get("access-control-allow-origin")]).toEqual([200, allowed]);
    const refused = await front.call("/ping", undefined, { headers: { origin: ORIGIN } });
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, allowed]);
  });
});

test.each([[[]], [["https://other.example"]]])("no other page gets access: %j", async (origins: string[]) => {
  front = await startFront(inject("redisUrl"), { origins });
  const { status, headers } = await preflight();
  expect([status, headers.get("access-control-allow-origin")]).toEqual([405, null]);
  expect((await ping()).headers.get("access-control-allow-origin")).toBe(null);
});
