import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { BatchAccepted } from "../../../edge/runs/batch-view.ts";
import { RUN, bodyOf, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());
beforeEach(async () => {
  await app.stores.sql`truncate lanes`;
});

const Lanes = z.record(z.string(), z.looseObject({ settings: z.record(z.string(), z.unknown()) }));
const settingsOf = async (lane: string) => {
  const { lanes } = await bodyOf(await app.call("GET", "/scale/queue"));
  return Lanes.parse(lanes)[lane]?.settings;
};
const patch = (lane: string, body: object, prefix = "/scale") =>
  app.call("PATCH", `${prefix}/queue/${lane}`, { body });

describe("the settings of a lane", () => {
  test("are shown with their defaults: those of mails are 5 at once, 10 in a second, 3 tries from a minute on", async () => {
    expect(await settingsOf("mail")).toMatchObject({
      slots: { value: 5, default: 5, origin: "default" },
      starts_per_second: { value: 10, default: 10, origin: "default" },
      attempts: { value: 3 },
      first_backoff_seconds: { value: 60 },
      keep_completed_seconds: { value: 86_400 },
      keep_completed_count: { value: 1_000 },
      keep_failed_seconds: { value: 604_800 },
    });
    expect(await settingsOf("interactive")).toEqual({
      weight: { value: 8, default: 8, origin: "default" },
      slots: { value: null, default: null, origin: "default" },
      starts_per_second: { value: null, default: null, origin: "default" },
      attempts: { value: 3, default: 3, origin: "default" },
      first_backoff_seconds: { value: 0, default: 0, origin: "default" },
      timeout_seconds: { value: null, default: null, origin: "default" },
      keep_completed_seconds: { value: null, default: null, origin: "default" },
      keep_completed_count: { value: null, default: null, origin: "default" },
      keep_failed_seconds: { value: null, default: null, origin: "default" },
      keep_failed_count: { value: null, default: null, origin: "default" },
    });
  });

  test("change one by one, at both prefixes, with a record; null returns one to its default", async () => {
    const changed = await patch("bulk", { weight: 3, starts_per_second: 0.5 });
    expect([changed.status, await bodyOf(changed)]).toMatchObject([
      200,
      {
        weight: { value: 3, origin: "set" },
        starts_per_second: { value: 0.5, default: null, origin: "set" },
      },
    ]);
    expect((await patch("bulk", { weight: null, slots: 2 }, "/api/scale")).status).toBe(200);
    expect(await settingsOf("bulk")).toMatchObject({
      weight: { value: 1, origin: "default" },
      slots: { value: 2, origin: "set" },
      starts_per_second: { value: 0.5, origin: "set" },
    });
    expect(await settingsOf("default")).toMatchObject({ slots: { value: null, origin: "default" } });
    await app.settled();
    const audit = await app.stores.sql`select action, target, tenant_id, status from audit order by audit_id`;
    expect(audit.map((row) => ({ ...row }))).toEqual([
      { action: "changeLane", target: "bulk", tenant_id: null, status: 200 },
      { action: "changeLane", target: "bulk", tenant_id: null, status: 200 },
    ]);
  });

  test.each([
    ["bulk", { weight: 0 }, "weight", /1/],
    ["bulk", { slots: 1.5 }, "slots", /whole/],
    ["bulk", { starts_per_second: 0 }, "starts_per_second", /0\.01/],
    ["bulk", { attempts: 101 }, "attempts", /100/],
    ["bulk", { keep_completed_seconds: 60 }, "keep_completed_seconds", /at least 3600 for a lane of runs/],
    ["default", { keep_failed_count: 10_001 }, "keep_failed_count", /10000/],
    ["webhooks", { weight: 2 }, "weight", /the lane webhooks has no such setting/],
    ["webhooks", { timeout_seconds: 11 }, "timeout_seconds", /at most 10/],
    ["mail", { slot: 2 }, "slot", /slots/],
  ])("of %s refuse %j, and nothing changes", async (lane, body, path, message) => {
    const answer = await patch(lane, body);
    const problem = await bodyOf(answer);
    expect([answer.status, problem]).toMatchObject([422, { errors: [{ path }] }]);
    expect(JSON.stringify(problem)).toMatch(message);
    expect(await app.stores.sql`select from lanes`).toHaveLength(0);
  });

  test("may bound the ended runs of a lane by age and by number", async () => {
    const kept = await patch("bulk", { keep_completed_seconds: 86_400, keep_failed_count: 10 });
    expect([kept.status, await settingsOf("bulk")]).toMatchObject([
      200,
      {
        keep_completed_seconds: { value: 86_400, default: null, origin: "set" },
        keep_failed_count: { value: 10, default: null, origin: "set" },
      },
    ]);
  });

  test("are the operator's: a tenant's key changes none, and there is no other lane", async () => {
    const key = await app.stores.key("acme");
    expect((await app.call("PATCH", "/scale/queue/bulk", { key, body: { weight: 2 } })).status).toBe(403);
    expect((await patch("slow", { weight: 2 })).status).toBe(404);
  });

  test("count the deliveries of webhooks in their lane", async () => {
    const deliver = (n: number, more: object) =>
      app.stores.sql`insert into webhook_deliveries ${app.stores.sql({
        delivery_id: `whd_aaaaaaaaaaaa_1780499750067_${n}`,
        run_id: `run_aaaaaaaaaaaa_${1_780_499_750_067 + n}`,
        seq: 1,
        tenant_id: "acme",
        orchestration_id: "orch",
        type: "run.completed",
        url: "https://example.com/",
        status: "completed",
        tokens: 0,
        cost_micro_usd: 0,
        ...more,
      })}`;
    const done = { next_at: null, done_at: new Date() };
    await deliver(1, {});
    await deliver(2, { sending: true });
    await deliver(3, { next_at: new Date(Date.now() + 60_000) });
    await deliver(4, { ...done, outcome: "delivered" });
    await deliver(5, { ...done, outcome: "expired" });
    await deliver(6, { ...done, outcome: "rejected" });
    const { lanes } = await bodyOf(await app.call("GET", "/scale/queue"));
    const counts = { waiting: 1, active: 1, delayed: 1, completed: 1, failed: 2, total: 6 };
    expect(Lanes.parse(lanes)["webhooks"]).toMatchObject(counts);
  });
});

describe("the lane of a run", () => {
  const laneOf = async (run: string) => {
    const [row] = await app.stores.sql`select lane from runs where run_id = ${run}`;
    return row?.["lane"];
  };

  test("is `default`, or the one that the request names", async () => {
    expect(await laneOf(await startRun(app))).toBe("default");
    for (const lane of ["interactive", "bulk"])
      expect(await laneOf(await startRun(app, { body: { lane } }))).toBe(lane);
  });

  test("is `bulk` in a batch, unless the item names another", async () => {
    const path = RUN.replace(/run$/, "runs:batch");
    const answer = await app.call("POST", path, { body: { items: [{}, { lane: "interactive" }] } });
    const { items } = BatchAccepted.parse(await answer.json());
    const runs = items.flatMap((item) => (item.status === "queued" ? [item.run_id] : []));
    expect(await Promise.all(runs.map(laneOf))).toEqual(["bulk", "interactive"]);
  });

  test.each(["mail", "webhooks", "slow"])("is never %s", async (lane) => {
    const answer = await app.call("POST", RUN, { body: { lane } });
    expect([answer.status, await bodyOf(answer)]).toMatchObject([422, { errors: [{ path: "lane" }] }]);
  });
});
