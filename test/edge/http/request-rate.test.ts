import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { RequestRates } from "../../../edge/http/request-rate.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { bodyOf, startApp, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const LIST = "/api/v2/orchestrations";
const limit = (tenant_id: string, requests_per_second: number) =>
  app.call("POST", "/scale/tenants", { body: { tenant_id, requests_per_second } });

describe("requests of a tenant's key", () => {
  test("beyond its rate are 429 with the fields of the limit, reads too, and those of another tenant are not", async () => {
    await limit("slow", 5);
    const [slow, other] = [await app.stores.key("slow"), await app.stores.key("other")];
    const startedMs = performance.now();
    const answers = await Promise.all(
      Array.from({ length: 200 }, () => app.call("GET", LIST, { key: slow })),
    );
    const seconds = (performance.now() - startedMs) / 1_000;
    const served = answers.filter(({ status }) => status === 200);
    const refused = answers.filter(({ status }) => status === 429);
    expect(served.length + refused.length).toBe(200);
    expect(served.length).toBeGreaterThanOrEqual(5);
    expect(served.length).toBeLessThanOrEqual(5 * (seconds + 1));
    const [first] = refused;
    expect(first?.headers.get("retry-after")).toBe("1");
    expect(first?.headers.get("ratelimit-policy")).toBe('"requests";q=5;w=1');
    expect(first?.headers.get("ratelimit")).toBe('"requests";r=0;t=1');
    expect(await bodyOf(first ?? new Response("{}"))).toMatchObject({ code: "rate_limited" });
    expect((await app.call("GET", LIST, { key: other })).status).toBe(200);
  });

  test("with a rate of 0 are refused, and a raised one acts at once", async () => {
    await limit("none", 0);
    const key = await app.stores.key("none");
    expect((await app.call("GET", LIST, { key })).status).toBe(429);
    await limit("none", 5);
    expect((await app.call("GET", LIST, { key })).status).toBe(200);
  });

  test("with an invalid query count once", async () => {
    await limit("wrong", 3);
    const key = await app.stores.key("wrong");
    const answer = await app.call("GET", `${LIST}?unknown=1`, { key });
    expect(answer.status).toBe(422);
    const left = await app.call("POST", `${LIST}/none/run`, { key, body: { message: "hi" } });
    expect(left.status).toBe(404);
    expect((await app.call("GET", LIST, { key })).status).toBe(200);
  });

  // Fails when a tenant without a token gets none until the clock is again where it was.
  test("are served again within a second after the clock is set back", async () => {
    await limit("back", 1);
    const key = await app.stores.key("back");
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    expect((await app.call("GET", LIST, { key })).status).toBe(200);
    expect((await app.call("GET", LIST, { key })).status).toBe(429);
    vi.setSystemTime(Date.now() - 3_600_000);
    expect((await app.call("GET", LIST, { key })).status).toBe(429);
    vi.setSystemTime(Date.now() + 1_000);
    expect((await app.call("GET", LIST, { key })).status).toBe(200);
  });

  test("with a platform key are not counted", async () => {
    await limit("named", 1);
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => app.call("GET", "/scale/tenants/named")),
    );
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });
});

describe("a bucket", () => {
  const acme = TenantId.parse("acme");
  const takeAll = (rates: RequestRates, nowMs: number) => {
    for (let taken = 0; ; taken++) {
      try {
        rates.take(acme, 3, nowMs);
      } catch {
        return taken;
      }
    }
  };

  test("holds one second's requests, refills by the time that passed, and saves none over a pause", () => {
    const rates = new RequestRates();
    expect(takeAll(rates, 0)).toBe(3);
    expect(takeAll(rates, 333)).toBe(0);
    expect(takeAll(rates, 334)).toBe(1);
    expect(takeAll(rates, 3_600_000)).toBe(3);
  });

  test("follows a limit that changes", () => {
    const rates = new RequestRates();
    expect(rates.take(acme, 10, 0)).toMatchObject({ left: 9 });
    expect(rates.take(acme, 2, 0)).toMatchObject({ left: 1 });
    expect(() => rates.take(acme, 0, 1_000)).toThrow("0 requests a second");
  });
});
