/** What all workers together may ask of a provider: docs/protocol.md 5.25. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import type { ModelName } from "../../../shared/contracts/model-name.ts";
import { ProviderCalls } from "../../../shared/providers/provider-calls.ts";
import type { Acquisition, Allowed, Outcome } from "../../../shared/providers/provider-calls.ts";
import { startRedis } from "../../services/services.ts";
import { START_MS } from "../queue/fixture.ts";
import { timed } from "../queue/timed.ts";
import type { Clock } from "../queue/timed.ts";

const LEASE_MS = 30_000;
const clock: Clock = { nowMs: START_MS };
let service: Service;
let redis: Redis;
let calls: ProviderCalls;
let allowed: Allowed;
beforeAll(async () => {
  service = await startRedis();
  redis = new Redis(service.url, { protocol: 2 });
  calls = new ProviderCalls(timed(redis, clock));
});
afterAll(async () => {
  redis.disconnect();
  await service.stop();
});
beforeEach(async () => {
  clock.nowMs = START_MS;
  allowed = { concurrent: 0, requests: 0, tokens: 0 };
  await redis.flushall();
});

const name: ModelName = { provider: "openai", model: "gpt-5" };
const callOf = (call: string, tenant = "acme", model = name) => ({
  name: model,
  keyOwner: null,
  tenant: TenantId.parse(tenant),
  call,
});
const ask = (call: string, { tenant = "acme", tokens = 1, model = name } = {}): Promise<Acquisition> =>
  calls.acquire(callOf(call, tenant, model), allowed, tokens, LEASE_MS);
const begins = async (...asked: Parameters<typeof ask>) => (await ask(...asked)).is === "begun";
const end = (call: string, outcome: Partial<Outcome> & Pick<Outcome, "is">, tenant = "acme") =>
  calls.settle(callOf(call, tenant), allowed, {
    heldMs: 2_000,
    moreTokens: 0,
    waitMs: undefined,
    left: { requests: undefined, tokens: undefined },
    ...outcome,
  });
const afterMs = (ms: number) => {
  clock.nowMs += ms;
};
/** Calls of a tenant that wait. @returns a function that requests a place for each call that is due, and returns the calls that began */
function waitingCalls(count: number, tenant: string) {
  const waiting = Array.from({ length: count }, (_, i) => ({
    call: `${tenant}${i}`,
    tenant,
    dueMs: 0,
    begun: false,
  }));
  return async () => {
    const due = waiting.filter(({ begun, dueMs }) => !begun && dueMs <= clock.nowMs);
    for (const each of due) {
      const acquisition = await ask(each.call, { tenant });
      if (acquisition.is === "begun") each.begun = true;
      else each.dueMs = clock.nowMs + acquisition.afterMs;
    }
    return due.filter(({ begun }) => begun);
  };
}
const waitOf = (acquisition: Acquisition) => (acquisition.is === "wait" ? acquisition.afterMs : 0);

describe("max_concurrent", () => {
  beforeEach(() => {
    allowed = { ...allowed, concurrent: 2 };
  });

  test("holds for the fleet, and for each model by itself", async () => {
    expect([await begins("a"), await begins("b"), await begins("c")]).toEqual([true, true, false]);
    expect(await begins("c", { model: { provider: "openai", model: "gpt-5-mini" } })).toBe(true);
    await end("a", { is: "answered" });
    expect(await begins("c")).toBe(true);
  });

  test("a call that asks again after a lost reply has its place already", async () => {
    await ask("a");
    await ask("b");
    expect(await begins("a")).toBe(true);
    await end("a", { is: "answered" });
    expect(await begins("c")).toBe(true);
  });

  // Fails when the unknown length of the first calls is multiplied by all calls that wait: short calls behind it waited a minute.
  test("calls ask again within ten seconds as long as none has ended, and in turn from then on", async () => {
    await ask("a");
    await ask("b");
    const firstWaits: number[] = [];
    for (let i = 0; i < 40; i++) firstWaits.push(waitOf(await ask(`w${i}`)));
    expect(firstWaits[0]).toBe(2_000);
    expect(firstWaits.slice(1).every((ms) => ms > 2_000 && ms <= 10_000)).toBe(true);
    afterMs(10_000);
    await end("a", { is: "answered" });
    const waitsInTurn: number[] = [];
    for (let i = 1; i < 40; i++) waitsInTurn.push(waitOf(await ask(`w${i}`)));
    // Each call takes 2 s and two are under way at a time: the last of them has 38 before it.
    expect(Math.max(...waitsInTurn)).toBeGreaterThan(30_000);
  });

  // Fails when a killed worker keeps its places, or a live worker loses them.
  test("a worker that has died gives its places back, and one that renews keeps them", async () => {
    await ask("a");
    await ask("b");
    afterMs(LEASE_MS - 1);
    await calls.renew([callOf("b")], LEASE_MS);
    afterMs(1);
    expect([await begins("c"), await begins("d")]).toEqual([true, false]);
  });

  test("the calls under way count again when Redis was emptied", async () => {
    await ask("a");
    await ask("b");
    await redis.flushall();
    await calls.renew([callOf("a"), callOf("b")], LEASE_MS);
    expect(await begins("c")).toBe(false);
  });
});

describe("of several tenants", () => {
  // Fails when a tenant with many waiting calls takes each place that becomes free.
  test("none is ahead by more than one call, however many calls it has waiting", async () => {
    allowed = { ...allowed, concurrent: 1 };
    const acme = waitingCalls(50, "acme");
    const globex = waitingCalls(3, "globex");
    const begun: string[] = [];
    // The calls of acme come first at each moment.
    while (begun.length < 6) {
      for (const call of [...(await acme()), ...(await globex())]) {
        begun.push(call.tenant);
        await end(call.call, { is: "answered" }, call.tenant);
      }
      afterMs(500);
    }
    expect(begun.slice(0, 6).filter((tenant) => tenant === "globex")).toHaveLength(3);
  });

  test("a tenant with one waiting call has the next place; a call that does not ask again blocks no other", async () => {
    allowed = { ...allowed, concurrent: 1 };
    await ask("a");
    await ask("b", { tenant: "globex" });
    await end("a", { is: "answered" });
    expect(await begins("a2")).toBe(false);
    afterMs(6_000);
    expect(await begins("a3")).toBe(true);
  });

  test("a call's wait grows with the number of calls of its tenant that wait before it", async () => {
    allowed = { ...allowed, requests: 60 };
    for (let i = 0; i < 6; i += 1) expect(await begins(`first${i}`)).toBe(true);
    const waits: number[] = [];
    for (let i = 0; i < 100; i += 1) waits.push(waitOf(await ask(`a${String(i).padStart(3, "0")}`)));
    expect(waits[0]).toBe(1_000);
    expect(waits[30]).toBe(31_000);
    expect(waits[99]).toBe(60_000);
    expect(waitOf(await ask("b", { tenant: "globex" }))).toBe(1_000);
  });
});

describe("a minute", () => {
  test("has as many requests as its limit, a tenth of them at once", async () => {
    allowed = { ...allowed, requests: 60 };
    const beginDue = waitingCalls(200, "acme");
    let begun = 0;
    for (let ms = 0; ms < 60_000; ms += 500) {
      begun += (await beginDue()).length;
      afterMs(500);
    }
    expect(begun).toBeGreaterThanOrEqual(60);
    expect(begun).toBeLessThanOrEqual(66);
  });

  // Fails when the tokens that a call really used do not count.
  test("has as many tokens as its limit, counted by the calls' real usage", async () => {
    allowed = { ...allowed, tokens: 6_000 };
    expect(await begins("a", { tokens: 100 })).toBe(true);
    await end("a", { is: "answered", moreTokens: 1_500 });
    // The bucket had 600 tokens and the call used 1,600: the missing 1,000 and the next 100 come back at 100 a second.
    const wait = waitOf(await ask("b", { tokens: 100 }));
    expect(wait).toBe(11_000);
    afterMs(10_900);
    expect(await begins("b", { tokens: 100 })).toBe(false);
    afterMs(1_100);
    expect(await begins("b", { tokens: 100 })).toBe(true);
  });

  test("lets a call begin that is larger than what a tenth of a minute allows", async () => {
    allowed = { ...allowed, tokens: 600 };
    expect(await begins("a", { tokens: 5_000 })).toBe(true);
    expect(await begins("b", { tokens: 1 })).toBe(false);
  });
});

describe("what a provider says", () => {
  test("a wait that it asks for holds for the fleet; then calls begin at a slower pace", async () => {
    for (let i = 0; i < 10; i += 1) await ask(`a${i}`);
    await end("a9", { is: "limited", waitMs: 20_000 });
    expect(waitOf(await ask("b", { tenant: "globex" }))).toBe(20_000);
    afterMs(20_000);
    const beginDue = waitingCalls(40, "acme");
    const inHalfMinute = async (): Promise<number> => {
      let begun = 0;
      for (let ms = 0; ms < 30_000; ms += 500) {
        begun += (await beginDue()).length;
        afterMs(500);
      }
      return begun;
    };
    // The pace begins at 0.7 of the 10 calls a minute that were too many, and then rises.
    const begun = [await inHalfMinute(), await inHalfMinute(), await inHalfMinute()];
    expect(begun[0]).toBeGreaterThanOrEqual(3);
    expect(begun[0]).toBeLessThanOrEqual(5);
    expect(begun[1]).toBeGreaterThan(begun[0] ?? 0);
    expect(begun[2]).toBeGreaterThan(begun[1] ?? 0);
  });

  // Fails when a refusal at a low pace, which says little about the provider, holds the fleet at that pace.
  test("after a few refusals at a low pace, twelve waiting calls begin within 100 s", async () => {
    for (let i = 0; i < 4; i += 1) {
      await ask(`a${i}`);
      await end(`a${i}`, { is: "limited", waitMs: 1_000 });
      afterMs(20_000);
    }
    const beginDue = waitingCalls(12, "acme");
    let begun = 0;
    for (let ms = 0; ms < 100_000; ms += 500) {
      begun += (await beginDue()).length;
      afterMs(500);
    }
    expect(begun).toBe(12);
  });

  test("when nothing is left of a limit, calls wait until it is whole again, and no longer", async () => {
    await ask("a");
    await end("a", { is: "answered", left: { requests: { count: 1, forMs: 8_000 }, tokens: undefined } });
    expect([await begins("b"), waitOf(await ask("c"))]).toEqual([true, 8_000]);
    afterMs(8_000);
    expect(await begins("c")).toBe(true);
    await end("c", { is: "answered", left: { requests: undefined, tokens: { count: 50, forMs: 3_000 } } });
    expect([await begins("d", { tokens: 60 }), await begins("e", { tokens: 40 })]).toEqual([false, true]);
  });
});

describe("the circuit breaker", () => {
  const fail = async (call: string, tenant = "acme") => {
    await ask(call, { tenant });
    await end(call, { is: "failed" }, tenant);
  };

  test("opens for all after five failures in a row of several tenants, and one probe of the fleet closes it", async () => {
    for (const [call, tenant] of [["a"], ["b"], ["c", "globex"], ["d"], ["e"]] as const)
      await fail(call, tenant);
    expect(await ask("f", { tenant: "third" })).toEqual({ is: "wait", why: "open", afterMs: 5_000 });
    afterMs(5_000);
    expect([await begins("probe"), await ask("g")]).toEqual([
      true,
      { is: "wait", why: "open", afterMs: 2_000 },
    ]);
    await end("probe", { is: "answered" });
    expect([await begins("g"), await begins("h")]).toEqual([true, true]);
  });

  // Fails when the requests of one tenant, which may be what the provider fails at, keep others from it.
  test("opens for one tenant alone when all failures were its own", async () => {
    for (const call of ["a", "b", "c", "d", "e"]) await fail(call);
    expect([await begins("f"), await begins("f", { tenant: "globex" })]).toEqual([false, true]);
  });

  test("stays closed while any call is answered, or was cut off here", async () => {
    for (const call of ["a", "b", "c", "d"]) await fail(call);
    await ask("ok");
    await end("ok", { is: "answered" });
    for (const call of ["e", "f", "g", "h"]) await fail(call);
    await ask("cut");
    await end("cut", { is: "unknown" });
    expect(await begins("i")).toBe(true);
  });

  test("opens for twice as long when its probe fails, a minute at most; a probe that died is replaced", async () => {
    for (const call of ["a", "b", "c", "d", "e"]) await fail(call);
    const waits: number[] = [];
    for (let i = 0; i < 6; i += 1) {
      waits.push(waitOf(await ask("next")));
      afterMs(waits[i] ?? 0);
      await fail(`probe${i}`);
    }
    expect(waits).toEqual([5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
    afterMs(60_000);
    expect([await begins("dies"), await begins("next")]).toEqual([true, false]);
    afterMs(LEASE_MS);
    expect(await begins("next")).toBe(true);
  });

  test("a probe that was cut off here gives its turn to the next call", async () => {
    for (const call of ["a", "b", "c", "d", "e"]) await fail(call);
    afterMs(5_000);
    await ask("probe");
    await end("probe", { is: "unknown" });
    expect(await begins("next")).toBe(true);
  });
});

test("a model without limits leaves nothing in Redis after two minutes", async () => {
  for (let i = 0; i < 20; i += 1) await ask(`a${i}`, { model: { provider: "openai", model: `guess-${i}` } });
  const left = await redis.keys("*");
  expect(left).toHaveLength(20);
  for (const key of left) expect(await redis.pttl(key)).toBeLessThanOrEqual(120_000);
});
