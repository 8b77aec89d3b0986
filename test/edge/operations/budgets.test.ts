import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { MAX_PRICES } from "../../../shared/store/money/model-prices.ts";
import { reserveInBudgets } from "../../../shared/store/money/reserve.ts";
import { claimRuns } from "../../../shared/store/runs/claim-runs.ts";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { NewWait } from "../../../shared/store/runs/waits.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { onlineBeat, stepEntry } from "../../shared/store/store-fixture.ts";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
let ofAcme: string;
let ofGlobex: string;
let reader: string;
beforeAll(async () => {
  app = await startApp();
  ofAcme = await app.stores.key("acme");
  ofGlobex = await app.stores.key("globex");
  reader = await app.stores.key("acme", ["runs:read"]);
});
afterAll(() => app.stop());
beforeEach(async () => {
  await app.stores.sql`delete from budgets`;
  await app.stores.sql`delete from budget_calls`;
  await app.stores.sql`delete from model_prices`;
});

const budget = { scope: "tenant", limit_usd: 0.001, at_limit: "pause" };
const put = (id: string, body: object, key = ofAcme) =>
  app.call("PUT", `/scale/budgets/${id}`, { key, body });
const list = async (key = ofAcme, query = "") => {
  const response = await app.call("GET", `/scale/budgets${query}`, { key });
  return z.array(z.record(z.string(), z.unknown())).parse(await response.json());
};
const llmStep = (model: string) => ({
  name: "Spends",
  entry_step_id: "a",
  steps: [{ id: "a", type: "llm", model, prompt_template: "Write" }],
});

/** A run of acme that waits because its budget refused one of its calls. `others`: further waits of the run. */
async function refusedRun(others: readonly NewWait[] = []) {
  const run = RunId.parse(await startRun(app, { key: ofAcme }));
  await app.settled();
  const owner = newIncarnation("w");
  await beat(app.stores.sql, onlineBeat(owner));
  const [claimed] = await claimRuns(app.stores.sql, owner, [run]);
  if (!claimed) throw new Error("the run was not claimed");
  const call = {
    run_id: run,
    attempt: claimed.attempt,
    owner,
    call: "c",
    wait_id: null,
    cost: 8_000,
  };
  const refused = await reserveInBudgets(app.stores.sql, call);
  if (refused.outcome !== "refused") throw new Error(`the call was ${refused.outcome}`);
  const wait = {
    wait_id: "a:1:budget:0",
    step_id: "a",
    kind: "budget",
    prompt: 'budget "month" has no room for the model call',
    fields: JSON.stringify({ budget_id: "month", version: refused.version }),
    deadline_ms: null,
    child_run_id: null,
  } as const;
  const entry = stepEntry(
    { ...claimed, owner },
    {
      kind: "park",
      status: "paused",
      wake_ms: 3_600_000,
      waits: [wait, ...others],
      signals: claimed.signals,
    },
  );
  await flush(app.stores.sql, [entry]);
  return run;
}

describe("budgets", () => {
  test("are created, replaced, listed with what is spent and reserved, and deleted", async () => {
    const created = await put("month", budget);
    expect([created.status, await bodyOf(created)]).toMatchObject([
      200,
      {
        id: "month",
        tenant_id: "acme",
        scope: "tenant",
        period: "month",
        limit_usd: 0.001,
        at_limit: "pause",
        spent_usd: 0,
        reserved_usd: 0,
        remaining_usd: 0.001,
        resets_at: expect.stringMatching(/-01T00:00:00\.000Z$/),
      },
    ]);
    // Fails when a client that reads, edits and saves must know which of the fields GET alone has.
    const [shown] = await list();
    await put("month", { ...shown, limit_usd: 7, period: "total" });
    expect(await list()).toMatchObject([{ id: "month", limit_usd: 7, resets_at: null }]);
    expect((await app.call("DELETE", "/scale/budgets/month", { key: ofAcme })).status).toBe(204);
    expect(await list()).toEqual([]);
  });

  test("of another tenant are neither shown, nor changed, nor deleted", async () => {
    await put("month", budget);
    expect(await list(ofGlobex)).toEqual([]);
    expect((await app.call("DELETE", "/scale/budgets/month", { key: ofGlobex })).status).toBe(404);
    expect((await put("month", { ...budget, limit_usd: 9 }, ofGlobex)).status).toBe(200);
    expect((await put("x", { ...budget, tenant_id: "acme" }, ofGlobex)).status).toBe(403);
    expect(await list()).toMatchObject([{ limit_usd: 0.001 }]);
    // A platform key sees the budgets of all tenants.
    expect(await list(app.platformKey)).toMatchObject([{ tenant_id: "acme" }, { tenant_id: "globex" }]);
    expect(await list(app.platformKey, "?tenant_id=globex")).toMatchObject([{ tenant_id: "globex" }]);
  });

  test("need the scope admin", async () => {
    expect((await put("month", budget, reader)).status).toBe(403);
    expect((await app.call("GET", "/scale/budgets", { key: reader })).status).toBe(403);
    expect((await app.call("DELETE", "/scale/budgets/month", { key: reader })).status).toBe(403);
  });

  test.each([
    [{ ...budget, scope: "orchestration" }, "scope"],
    [{ ...budget, scope: "user:" }, "scope"],
    [{ ...budget, scope: "user:a\u0000" }, "scope"],
    [{ ...budget, limit_usd: -1 }, "limit_usd"],
    [{ ...budget, limit_usd: 1e-7 }, "limit_usd"],
    [{ ...budget, limit_usd: 0.0000015 }, "limit_usd"],
    [{ ...budget, period: "week" }, "period"],
    [{ ...budget, at_limit: "downgrade" }, "downgrade_model"],
    [{ ...budget, downgrade_model: "demo/fast" }, "downgrade_model"],
    [{ ...budget, at_limit: "downgrade", downgrade_model: "openai-compatible/x" }, "downgrade_model"],
    [{ ...budget, limit: 1 }, "limit"],
  ])("like %j are refused, and the error names the field %s", async (body, path) => {
    const response = await put("month", body);
    expect([response.status, await bodyOf(response)]).toMatchObject([422, { errors: [{ path }] }]);
    expect(await list()).toEqual([]);
  });

  test.each([0, 0.1, 0.29, 1.000001, 123_456_789.123456, 1e9])(
    "hold %d USD as they are sent",
    async (limit_usd) => {
      expect(await bodyOf(await put("month", { ...budget, limit_usd }))).toMatchObject({ limit_usd });
    },
  );

  // Fails when a page repeats or skips a budget.
  test("are paged", async () => {
    for (const id of ["a", "b", "c"]) await put(id, budget);
    const first = await app.call("GET", "/scale/budgets?limit=2", { key: ofAcme });
    const next = /<(.*)>/.exec(first.headers.get("link") ?? "")?.[1] ?? "";
    expect(await (await app.call("GET", next, { key: ofAcme })).json()).toMatchObject([{ id: "c" }]);
  });

  // Fails when the link to the next page is refused, because the name of an end user has characters that no id may have.
  test("are paged also after the budget of an end user with any name", async () => {
    await put("each", { ...budget, scope: "user:*" });
    for (const user of ["ada@example.com", "Grace Hopper", "é".repeat(200)]) {
      await app.stores.sql`
        insert into budgets (tenant_id, budget_id, scope, period, limit_micro_usd, at_limit, period_start, template_id)
        values ('acme', ${`each:${user}`}, ${`user:${user}`}, 'month', 1, 'fail', budget_period_start('month'), 'each')`;
    }
    const seen: unknown[] = [];
    for (let next: string | undefined = "/scale/budgets?limit=1"; next !== undefined;) {
      const page: Response = await app.call("GET", next, { key: ofAcme });
      expect(page.status).toBe(200);
      seen.push(
        ...z
          .array(z.object({ id: z.string() }))
          .parse(await page.json())
          .map(({ id }) => id),
      );
      next = /<(.*)>/.exec(page.headers.get("link") ?? "")?.[1];
    }
    expect(seen).toHaveLength(4);
    expect(new Set(seen).size).toBe(4);
    const wrong = await app.call("GET", "/scale/budgets?cursor=acme", { key: ofAcme });
    expect([wrong.status, await bodyOf(wrong)]).toMatchObject([400, { code: "bad_cursor" }]);
  });
});

describe("a run that waits for a budget", () => {
  test("is shown as waiting in its status and in …/why, and a raise queues it at once", async () => {
    await put("month", budget);
    const run = await refusedRun();
    const status = await bodyOf(await app.call("GET", runPath(run, "status"), { key: ofAcme }));
    expect(status).toMatchObject({
      status: "paused",
      waiting_for_human: false,
      waiting: { reason: "budget", budget_id: "month", step_id: "a", path: "a", until: expect.any(String) },
    });
    const why = await bodyOf(await app.call("GET", runPath(run, "why"), { key: ofAcme }));
    expect(why).toMatchObject({
      reason: "waiting",
      blocked_by: [{ kind: "answer", of: "budget", budget_id: "month", path: "a" }],
    });
    expect(why["sentence"]).toContain('Budget "month" has no room for the model call.');
    expect(why["sentence"]).toContain("PUT /scale/budgets/month with a higher limit_usd");

    await put("month", { ...budget, limit_usd: 1 });
    const after = await bodyOf(await app.call("GET", runPath(run, "status"), { key: ofAcme }));
    expect(after).toMatchObject({ status: "queued", waits: [] });
    const { ready } = await app.stores.queue.stats(0);
    expect(ready).toBeGreaterThan(0);
  });

  // Fails when status or /why shows only one kind of what the branches of a run wait for.
  test("in one branch and for a person in another shows both", async () => {
    await put("month", budget);
    const question = { wait_id: "b:1", step_id: "b", kind: "human", prompt: "go on?", fields: "[]" } as const;
    const run = await refusedRun([{ ...question, deadline_ms: null, child_run_id: null }]);
    const status = await bodyOf(await app.call("GET", runPath(run, "status"), { key: ofAcme }));
    expect(status).toMatchObject({
      waiting_for_human: true,
      waits: [
        { reason: "human", question_id: "b:1" },
        { reason: "budget", budget_id: "month", path: "a" },
      ],
    });
    const { sentence } = await bodyOf(await app.call("GET", runPath(run, "why"), { key: ofAcme }));
    expect(sentence).toContain("its budget (step a) and a person to answer (step b)");
    expect(sentence).toContain("POST …/resume answers.");
    expect(sentence).toContain("PUT /scale/budgets/month");
  });

  test("of another tenant stays as it is", async () => {
    await put("month", budget);
    const run = await refusedRun();
    await put("month", { ...budget, limit_usd: 1 }, ofGlobex);
    const status = await bodyOf(await app.call("GET", runPath(run, "status"), { key: ofAcme }));
    expect(status).toMatchObject({ status: "paused" });
  });
});

describe("a model without a known price", () => {
  const save = (id: string, model: string) =>
    app.call("PUT", `/api/v2/orchestrations/${id}`, { key: ofAcme, body: llmStep(model) });

  // Fails when only max_total_cost_usd counts as a limit on money.
  test("is refused when an orchestration is saved to which a budget applies", async () => {
    expect((await save("orch_free", "openai-compatible/vendor")).status).toBe(200);
    await put("spends", { ...budget, scope: "orchestration:orch_paid" });
    const response = await save("orch_paid", "openai-compatible/vendor");
    expect([response.status, await bodyOf(response)]).toMatchObject([
      422,
      { errors: [{ path: "steps[0].model", message: expect.stringContaining("no known price") }] },
    ]);
    expect((await save("orch_other", "openai-compatible/vendor")).status).toBe(200);
    expect((await save("orch_paid", "demo/fast")).status).toBe(200);
  });

  // Fails when an import saves what a save refuses.
  test("is refused in an import, too", async () => {
    await put("spends", { ...budget, scope: "orchestration:orch_paid" });
    const bundle = ["orch_paid", "orch_other"].map((id) => ({ id, ...llmStep("openai-compatible/vendor") }));
    const body = { orchestrations: bundle, dry_run: true };
    const response = await app.call("POST", "/scale/sync", { key: ofAcme, body });
    const { errors } = await bodyOf(response);
    expect(errors).toEqual([
      {
        id: "orch_paid",
        kind: "orchestrations",
        path: "orchestrations[0].steps[0].model",
        code: "invalid",
        message: expect.stringContaining("no known price"),
      },
    ]);
  });

  test("is accepted once the operator has set its price", async () => {
    await put("all", budget);
    expect((await save("orch_paid", "openai-compatible/vendor")).status).toBe(422);
    const price = { model: "openai-compatible/vendor", input_usd_per_million: 1, output_usd_per_million: 2 };
    expect((await app.call("PUT", "/scale/model-prices", { body: price })).status).toBe(200);
    expect((await save("orch_paid", "openai-compatible/vendor")).status).toBe(200);
  });
});

describe("GET /api/v2/models", () => {
  const Models = z.array(
    z.object({ model: z.string(), source: z.string(), replaces_built_in: z.boolean() }).loose(),
  );
  const models = async () =>
    Models.parse(await (await app.call("GET", "/api/v2/models", { key: reader })).json());
  const priceOf = async (model: string) => (await models()).find((known) => known.model === model);

  test("shows built-in prices, and the operator's in their place until they are removed", async () => {
    expect(await priceOf("gpt-4.1-mini")).toMatchObject({
      provider: "openai",
      input_usd_per_million: 0.4,
      cached_input_usd_per_million: 0.1,
      output_usd_per_million: 1.6,
      max_output_tokens: 32_768,
      source: "built_in",
    });
    expect(await priceOf("gemini-2.5-pro")).toMatchObject({
      long_prompt: { above_input_tokens: 200_000, input_usd_per_million: 2.5, output_usd_per_million: 15 },
    });
    const long_prompt = {
      above_input_tokens: 272_000,
      input_usd_per_million: 0.6,
      cached_input_usd_per_million: 0.06,
      output_usd_per_million: 2,
    };
    const price = {
      model: "gpt-4.1-mini",
      input_usd_per_million: 0.3,
      output_usd_per_million: 1,
      long_prompt,
    };
    await app.call("PUT", "/scale/model-prices", { body: price });
    expect(await priceOf("gpt-4.1-mini")).toMatchObject({
      ...price,
      source: "operator",
      replaces_built_in: true,
      cached_input_usd_per_million: null,
    });
    expect((await models()).filter(({ model }) => model === "gpt-4.1-mini")).toHaveLength(1);
    const removed = await app.call("DELETE", "/scale/model-prices?model=gpt-4.1-mini");
    expect([removed.status, await priceOf("gpt-4.1-mini")]).toMatchObject([204, { source: "built_in" }]);
    expect((await app.call("DELETE", "/scale/model-prices?model=gpt-4.1-mini")).status).toBe(404);
  });

  const setPrice = (model: string, input_usd_per_million: number) =>
    app.call("PUT", "/scale/model-prices", {
      body: { model, input_usd_per_million, output_usd_per_million: 1 },
    });

  // Fails when the older of two prices of one model holds, because its name is spelled in full.
  test("has one price for a model, the last that was set, with its provider or without", async () => {
    await setPrice("openai/gpt-4.1-nano", 3);
    await setPrice("gpt-4.1-nano", 2);
    const nano = (await models()).filter(({ model }) => model.endsWith("gpt-4.1-nano"));
    expect(nano).toMatchObject([{ model: "gpt-4.1-nano", input_usd_per_million: 2 }]);
    const removed = await app.call("DELETE", "/scale/model-prices?model=openai/gpt-4.1-nano");
    expect([removed.status, await priceOf("gpt-4.1-nano")]).toMatchObject([204, { source: "built_in" }]);
  });

  // Fails when the other spelling counts as another model: the new price is refused then, and the old one is removed nevertheless.
  test("takes a price under another spelling also when no further model can have one", async () => {
    await app.stores.sql`insert into model_prices (model, input_price, output_price)
      select 'openai/x-' || i, 1, 1 from generate_series(2, ${MAX_PRICES}) i`;
    await setPrice("openai/gpt-4.1-nano", 3);
    expect((await setPrice("gpt-4.1-nano", 2)).status).toBe(200);
    expect((await setPrice("openai/x-0", 2)).status).toBe(422);
    expect(
      await app.stores.sql`select input_price from model_prices where model not like 'openai/x-%'`,
    ).toEqual([{ input_price: 2 }]);
  });

  test("has prices that only the operator may set", async () => {
    const body = { model: "openai/x", input_usd_per_million: 1, output_usd_per_million: 1 };
    expect((await app.call("PUT", "/scale/model-prices", { key: ofAcme, body })).status).toBe(403);
    const wrong = await app.call("PUT", "/scale/model-prices", { body: { ...body, model: "no such" } });
    expect([wrong.status, await bodyOf(wrong)]).toMatchObject([422, { errors: [{ path: "model" }] }]);
    expect((await models()).every(({ source }) => source === "built_in")).toBe(true);
  });
});

describe("/scale/provider-limits", () => {
  const limit = { max_concurrent: 2, requests_per_minute: 60, tokens_per_minute: null, context_tokens: null };
  const setLimit = (model: string, more: object = {}) =>
    app.call("PUT", "/scale/provider-limits", { body: { model, ...limit, ...more } });
  const limits = async () => (await app.call("GET", "/scale/provider-limits")).json();

  test("sets, shows and removes what all workers together may ask of a model, under the model's full name", async () => {
    expect(await bodyOf(await setLimit("gpt-5"))).toEqual({ model: "openai/gpt-5", ...limit });
    await setLimit("anthropic/*", { tokens_per_minute: 1_000, max_concurrent: null });
    await setLimit("openai/gpt-5", { max_concurrent: 3, context_tokens: 8_192 });
    expect(await limits()).toEqual([
      { model: "anthropic/*", ...limit, max_concurrent: null, tokens_per_minute: 1_000 },
      { model: "openai/gpt-5", ...limit, max_concurrent: 3, context_tokens: 8_192 },
    ]);
    const remove = (model: string) => app.call("DELETE", `/scale/provider-limits?model=${model}`);
    expect((await remove("gpt-5")).status).toBe(204);
    expect((await remove("openai/gpt-5")).status).toBe(404);
    expect((await remove("anthropic/*")).status).toBe(204);
  });

  test.each([
    ["demo/fast", {}, "model"],
    ["no such", {}, "model"],
    ["gpt-5", { max_concurrent: 0 }, "max_concurrent"],
    ["gpt-5", { requests_per_minute: 1.5 }, "requests_per_minute"],
    ["gpt-5", { context_tokens: 100 }, "context_tokens"],
  ])("refuses %s with %j", async (model, more, path) => {
    const answer = await setLimit(model, more);
    expect([answer.status, await bodyOf(answer)]).toMatchObject([422, { errors: [{ path }] }]);
  });

  test("belongs to the operator", async () => {
    expect((await app.call("GET", "/scale/provider-limits", { key: ofAcme })).status).toBe(403);
  });
});

// Fails when a price that no model has is saved as if it had an effect.
test("the price of all models of a provider is refused: each model has its own", async () => {
  const body = { model: "openai/*", input_usd_per_million: 1, output_usd_per_million: 1 };
  const answer = await app.call("PUT", "/scale/model-prices", { body });
  expect([answer.status, await bodyOf(answer)]).toMatchObject([422, { errors: [{ path: "model" }] }]);
});

// Fails when budgets of end users are not compared with `metadata.user`, or when an unusable value refuses the run.
test.each([
  ["ada@example.com", "ada@example.com"],
  ["a\u0000b", null],
  ["x".repeat(201), null],
  // Ids are often numbers: their budget is that of the digits.
  [7, "7"],
  [7.5, null],
  [{ id: 7 }, null],
])("the end user of a run with metadata.user %j is %j", async (user, endUser) => {
  const run = await startRun(app, { key: ofAcme, body: { message: "hi", metadata: { user } } });
  const [row] = await app.stores.sql`select end_user, tenant_id from runs where run_id = ${run}`;
  expect(row).toEqual({ end_user: endUser, tenant_id: TenantId.parse("acme") });
});

test("a chat turn belongs to the end user that its metadata names", async () => {
  await app.call("PUT", "/api/v2/agents/clerk", { key: ofAcme, body: { name: "Clerk" } });
  const body = { message: "hi", agent: "clerk", metadata: { user: "ada" } };
  const turn = await bodyOf(await app.call("POST", "/api/v2/chat", { key: ofAcme, body }));
  const [row] = await app.stores.sql`select end_user from runs where run_id = ${String(turn["turn_id"])}`;
  expect(row).toEqual({ end_user: "ada" });
});
