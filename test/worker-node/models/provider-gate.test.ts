/** Model calls over HTTP within what all workers together may ask of a provider: docs/protocol.md 5.25. */
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import type { ProviderLimit } from "../../../shared/contracts/provider-limit.ts";
import { providerKeyPlace } from "../../../shared/contracts/provider-key.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { seal } from "../../../shared/security/seal.ts";
import { keys } from "../../../shared/keys.ts";
import { ProviderCalls } from "../../../shared/providers/provider-calls.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { ProviderGate } from "../../../worker-node/models/provider-gate.ts";
import { TenantKeys } from "../../../worker-node/models/tenant-keys.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { ExecutionHarness } from "../execution/execution-harness.ts";
import { startRedis } from "../../services/services.ts";
import { an, cut, oc, ProviderServer, refusal, text, whole } from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

const server = new ProviderServer();
const masterKeys = masterKey().parse("ab".repeat(32));
let service: Service;
let redis: Redis;
let limits: ProviderLimit[];
beforeAll(async () => {
  service = await startRedis();
  redis = new Redis(service.url, { protocol: 2, maxRetriesPerRequest: 0, enableOfflineQueue: false });
  redis.on("error", () => {});
  await new Promise((resolve) => redis.once("ready", resolve));
  await server.start();
});
afterAll(async () => {
  server.stop();
  redis.disconnect();
  await service.stop();
});
beforeEach(async () => {
  limits = [];
  await redis.flushall();
});

const limit = (changes: Partial<ProviderLimit>): ProviderLimit => ({
  model: oc,
  max_concurrent: null,
  requests_per_minute: null,
  tokens_per_minute: null,
  context_tokens: null,
  ...changes,
});
const gate = (commands = redis) =>
  new ProviderGate(new ProviderCalls(scriptCommands(commands)), async () => limits);
/** A call of a worker with this gate. */
const call = (
  effectKey: string,
  { model = oc, providerGate = gate(), signal = new AbortController().signal, tenant = "acme" } = {},
) =>
  server.models(10_000, providerGate, tenantKeys).generate({
    model,
    messages: [{ role: "user", content: "go" }],
    tools: [],
    toolChoice: "auto",
    effectKey,
    tenant: TenantId.parse(tenant),
    signal,
    onText: () => {},
  });
/** `globex` has a key of its own, for the same server. */
const tenantKeys = new TenantKeys(
  async (tenant) => {
    const place = providerKeyPlace(tenant, "openai-compatible");
    const key = { provider: "openai-compatible", base_url: `${server.url}/v1` };
    return tenant === "globex" ? [{ ...key, api_key: await seal(masterKeys, "sk-globex", place) }] : [];
  },
  { masterKey: masterKeys, egress: createEgress("127.0.0.1") },
);
const waits = (code: string) => ({ name: "ProviderWait", code });
const stateOf = (model: string) => {
  const [provider = "", name = ""] = model.split("/");
  return redis.hgetall(`{${keys.providerCalls(null, provider, name)}}:state`);
};

/** An answer that ends when the test says so. */
function held(): { answer: Answer; finish(): void; begun: Promise<void> } {
  const { promise: finished, resolve: finish } = Promise.withResolvers<void>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const answer: Answer = (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    begin();
    void finished.then(() => response.end(text("late")));
  };
  return { answer, finish, begun };
}

describe("a call", () => {
  test("of another worker waits while the model has its max_concurrent calls, and is not sent", async () => {
    limits = [limit({ model: "openai-compatible/*", max_concurrent: 1 })];
    const first = held();
    server.reset(first.answer, text());
    const answer = call("one");
    await first.begun;
    await expect(call("two")).rejects.toMatchObject(waits("provider_limit"));
    expect(server.requests).toHaveLength(1);
    first.finish();
    await answer;
    await expect.poll(() => redis.zcard(keys.providerCalls(null, "openai-compatible", "m1"))).toBe(0);
    expect(await call("two")).toMatchObject({ text: "fine" });
  });

  test("that is cancelled gives its place back", async () => {
    limits = [limit({ max_concurrent: 1 })];
    const first = held();
    server.reset(first.answer, text());
    const stop = new AbortController();
    const answer = call("one", { signal: stop.signal });
    await first.begun;
    stop.abort(new Error("cancelled"));
    await expect(answer).rejects.toThrow("cancelled");
    await expect.poll(() => redis.zcard(keys.providerCalls(null, "openai-compatible", "m1"))).toBe(0);
  });

  test("after a refused call waits as long as the provider asked, in each worker", async () => {
    server.reset(refusal(429, { error: { message: "slow down" } }, { "retry-after": "30" }));
    await expect(call("one")).rejects.toMatchObject({ code: "model_rate_limited" });
    await expect.poll(() => stateOf(oc)).toHaveProperty("closed_until_ms");
    await expect(call("two")).rejects.toMatchObject(waits("provider_limit"));
    expect(server.requests).toHaveLength(1);
  });

  test.each<[string, string, Record<string, string>]>([
    ["OpenAI's", oc, { "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s" }],
    [
      "Anthropic's",
      an,
      {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": new Date(Date.now() + 90_000).toISOString(),
      },
    ],
  ])("waits when %s headers say that nothing is left", async (_whose, model, headers) => {
    server.reset((response) => {
      response.writeHead(200, { "content-type": "text/event-stream", ...headers });
      response.end(whole(model, "fine"));
    });
    await call("one", { model });
    await expect.poll(() => stateOf(model)).toHaveProperty("left_requests");
    await expect(call("two", { model })).rejects.toMatchObject(waits("provider_limit"));
  });

  test("waits while the breaker is open, after failures of any kind that say that the provider is down", async () => {
    server.reset(
      refusal(503, "no"),
      cut("data: {}\n\n"),
      refusal(500, "no"),
      refusal(529, "no"),
      refusal(502, "no"),
    );
    for (const key of ["1", "2", "3", "4", "5"]) {
      await expect(call(key)).rejects.toMatchObject({ name: "RetryableError" });
      await expect.poll(async () => (await stateOf(oc))["failures"]).toBe(`${key}.000`);
    }
    await expect(call("6")).rejects.toMatchObject(waits("provider_open"));
    expect(server.requests).toHaveLength(5);
  });

  test("that the provider refuses because of its content is no failure of the provider", async () => {
    server.reset(refusal(400, { error: { message: "bad" } }));
    for (const key of ["1", "2", "3", "4", "5", "6"])
      await expect(call(key)).rejects.toMatchObject({ name: "TerminalError" });
    expect(server.requests).toHaveLength(6);
  });

  // Fails when an unreachable Redis stops model calls.
  test("is made while Redis is unreachable", async () => {
    limits = [limit({ max_concurrent: 1 })];
    const away = new Redis("redis://127.0.0.1:1", { maxRetriesPerRequest: 0, enableOfflineQueue: false });
    away.on("error", () => {});
    server.reset(text());
    const answers = await Promise.all([
      call("one", { providerGate: gate(away) }),
      call("two", { providerGate: gate(away) }),
    ]);
    away.disconnect();
    expect(answers).toMatchObject([{ text: "fine" }, { text: "fine" }]);
  });
});

test("a run whose call must wait parks without its slot and without a failed try, and says why and until when", async () => {
  limits = [limit({ requests_per_minute: 1 })];
  server.reset(text());
  await call("another");
  const harness = new ExecutionHarness();
  harness.models = server.models(10_000, gate());
  const retry = { attempts: 1 };
  harness.definition = {
    id: "orch",
    name: "Orch",
    entry_step_id: "a",
    steps: [{ id: "a", type: "llm", model: oc, prompt_template: "go", retry }],
  };
  const { run, ending } = harness.begin();
  expect(await ending).toMatchObject({ is: "parked", status: "queued" });
  harness.checkEntries();
  const park = harness.store.entriesOf(run.run_id).at(-1);
  expect(park).toMatchObject({ kind: "park", usage: [] });
  expect(JSON.parse(park?.output ?? "")).toMatchObject({
    reason: "retry",
    tries: 0,
    error: { code: "provider_limit" },
    provider: { model: oc, waits: 1 },
  });
  expect(park?.events).toContain('"type":"provider_wait"');
  expect(server.requests).toHaveLength(1);

  // When it may go on it has all its tries, and its call the same key.
  limits = [];
  harness.models = server.models(10_000, gate());
  await redis.flushall();
  const next = new ExecutionHarness();
  next.models = harness.models;
  next.definition = harness.definition;
  const { event_seq: seq } = harness.store.row(run.run_id);
  const output = park?.output ?? null;
  const secondExecution = next.begin({ event_seq: seq }, [{ seq, kind: "park", output, age_ms: 70_000 }]);
  await secondExecution.ending;
  expect(next.store.row(secondExecution.run.run_id).status).toBe("completed");
  expect(next.calls[0]?.effectKey).toBe(`${secondExecution.run.run_id}:a:1:model.1`);
});

describe("a tenant with a key of its own", () => {
  const own = { tenant: "globex" };

  test("is not held by a refusal of the operator's key, nor others by one of its own", async () => {
    const slow = refusal(429, { error: { message: "slow down" } }, { "retry-after": "30" });
    server.reset(slow, text(), slow, text());
    await expect(call("one")).rejects.toMatchObject({ code: "model_rate_limited" });
    await expect.poll(() => stateOf(oc)).toHaveProperty("closed_until_ms");
    expect(await call("two", own)).toMatchObject({ text: "fine" });
    await redis.flushall();
    await expect(call("three", own)).rejects.toMatchObject({ code: "model_rate_limited" });
    await expect.poll(() => redis.keys("{provider:tenant:globex:*}:state")).toHaveLength(1);
    expect(await call("four")).toMatchObject({ text: "fine" });
    await expect(call("five", own)).rejects.toMatchObject(waits("provider_limit"));
    expect(server.requests.map(({ headers }) => headers["authorization"])).toEqual([
      undefined,
      "Bearer sk-globex",
      "Bearer sk-globex",
      undefined,
    ]);
  });

  test("opens the circuit breaker for itself alone", async () => {
    server.reset(refusal(503, "no"));
    for (const key of ["1", "2", "3", "4", "5"])
      await expect(call(key, own)).rejects.toMatchObject({ code: "model_unavailable" });
    await expect(call("6", own)).rejects.toMatchObject(waits("provider_open"));
    server.reset(text());
    expect(await call("7")).toMatchObject({ text: "fine" });
  });

  test("is not held by the operator's limits, which are for the operator's key", async () => {
    limits = [limit({ model: "openai-compatible/*", max_concurrent: 1 })];
    const first = held();
    server.reset(first.answer, text());
    const answer = call("one", own);
    await first.begun;
    expect(await call("two", own)).toMatchObject({ text: "fine" });
    first.finish();
    await answer;
  });
});

// Fails when a row that only says how long requests may be lifts the limits of the provider.
test("a window that is set for a model leaves it the limits of its provider; a row without either has none", async () => {
  const providerLimit = limit({ model: "openai-compatible/*", max_concurrent: 1 });
  for (const [modelLimit, isLimited] of [
    [limit({ context_tokens: 8_192 }), true],
    [limit({ context_tokens: 8_192, max_concurrent: 2 }), false],
    [limit({}), false],
  ] as const) {
    limits = [providerLimit, modelLimit];
    const first = held();
    server.reset(first.answer, text());
    const answer = call("one");
    await first.begun;
    const second = call("two");
    await (isLimited
      ? expect(second).rejects.toMatchObject(waits("provider_limit"))
      : expect(second).resolves.toMatchObject({ text: "fine" }));
    first.finish();
    await answer;
  }
});

test("the window of a model is what the operator has set for it, else for its provider, else unknown", async () => {
  limits = [
    limit({ context_tokens: 8_192 }),
    limit({ model: "openai-compatible/*", context_tokens: 16_384 }),
  ];
  const windowOf = (model: string) => gate().contextTokensOf({ provider: "openai-compatible", model });
  expect(await windowOf("m1")).toBe(8_192);
  expect(await windowOf("m2")).toBe(16_384);
  limits = [limit({ max_concurrent: 1 }), limit({ model: "openai-compatible/*", context_tokens: 16_384 })];
  expect(await windowOf("m1")).toBe(16_384);
  limits = [];
  expect(await windowOf("m1")).toBeNull();
});
