/** The keys of tenants at providers, as model calls use them: docs/protocol.md 5.34. */
import { createServer } from "node:http";
import type { Server } from "node:http";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { providerKeyPlace } from "../../../shared/contracts/provider-key.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { seal } from "../../../shared/security/seal.ts";
import type { SealedProviderKey } from "../../../shared/store/money/provider-keys.ts";
import { edgeStateStore } from "../../../worker-node/clients/http-state.ts";
import { createModels } from "../../../worker-node/models/create-models.ts";
import { TenantKeys } from "../../../worker-node/models/tenant-keys.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { oa, oc, ProviderServer, refusal, text } from "./provider-server.ts";
import { ResponsesServer } from "./responses-server.ts";

const keys = masterKey().parse("ab".repeat(32));
const acme = TenantId.parse("acme");
const globex = TenantId.parse("globex");
const signal = new AbortController().signal;
const server = new ProviderServer();
let rows: SealedProviderKey[];
let reads: string[];
beforeAll(() => server.start());
afterAll(() => server.stop());
beforeEach(() => {
  rows = [];
  reads = [];
  server.reset(text());
});
afterEach(() => void vi.useRealTimers());

async function sealed(
  provider: string,
  apiKey: string,
  base_url: string | null = `${server.url}/v1`,
): Promise<SealedProviderKey> {
  return { provider, api_key: await seal(keys, apiKey, providerKeyPlace("acme", provider)), base_url };
}
/** The keys of a worker. Only acme has some. */
function tenantKeys({
  allow = "127.0.0.1",
  master = keys,
  read = async (tenant: TenantId) => {
    reads.push(tenant);
    return tenant === acme ? rows : [];
  },
} = {}): TenantKeys {
  return new TenantKeys(read, { masterKey: master, egress: createEgress(allow) });
}
const generateWith = (
  keysOfTenants: TenantKeys,
  { model = oc, tenant = acme, models = server.models(10_000, null, keysOfTenants), content = "go" } = {},
) =>
  models.generate({
    model,
    messages: [{ role: "user", content }],
    tools: [],
    toolChoice: "auto",
    effectKey: "run:a:1:model.1",
    tenant,
    signal,
    onText: () => {},
  });
const sent = () => server.requests.map(({ headers }) => headers["authorization"]);

describe("a model call", () => {
  test("uses the key of its tenant at that provider, and that of the operator for other tenants and providers", async () => {
    rows = [await sealed("openai-compatible", "sk-acme")];
    const keysOfTenants = tenantKeys();
    expect(await generateWith(keysOfTenants)).toMatchObject({
      text: "fine",
      usage: { provider: "openai-compatible" },
    });
    await generateWith(keysOfTenants, { tenant: globex });
    await generateWith(keysOfTenants, { model: oa });
    expect(sent()).toEqual(["Bearer sk-acme", undefined, "Bearer k"]);
  });

  // Fails when calls that share a model of the SDK make their requests for each other.
  test("that goes on beside others of its model has its own answer and its own key", async () => {
    rows = [await sealed("openai-compatible", "sk-acme")];
    server.reset((response, { headers, body }) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(text(`${String(headers["authorization"])} ${String(body.messages[0]?.["content"])}`));
    });
    const keysOfTenants = tenantKeys();
    const models = server.models(10_000, null, keysOfTenants);
    const answers = Array.from({ length: 20 }, (_, i) =>
      generateWith(keysOfTenants, { models, tenant: i % 2 === 0 ? acme : globex, content: `n${i}` }),
    );
    const texts = (await Promise.all(answers)).map((answer) => answer.text);
    expect(texts).toEqual(texts.map((_, i) => `${i % 2 === 0 ? "Bearer sk-acme" : "undefined"} n${i}`));
  });

  test("has a model that the operator has not configured, if its tenant has a key there", async () => {
    const models = createModels({}, 10_000, () => new Map(), null, tenantKeys());
    const refused = generateWith(tenantKeys(), { models, tenant: globex });
    await expect(refused).rejects.toMatchObject({
      code: "model_not_configured",
      message: expect.stringContaining("PUT /api/v2/provider-keys/openai-compatible"),
    });
    rows = [await sealed("openai-compatible", "sk-acme")];
    expect(await generateWith(tenantKeys(), { models })).toMatchObject({ text: "fine" });
  });

  // Fails when a tenant's key goes to the operator's gateway, which the SDKs know by these variables.
  test("with a key without a base_url goes to the provider's own address", async () => {
    rows = await Promise.all(["openai", "anthropic", "google"].map((name) => sealed(name, "sk-acme", null)));
    const keysOfTenants = tenantKeys();
    const hosts = await Promise.all(
      ["openai", "anthropic", "google"].map(
        async (name) => (await keysOfTenants.accessOf(acme, name, signal))?.env,
      ),
    );
    expect(hosts).toEqual([
      { OPENAI_API_KEY: "sk-acme", OPENAI_BASE_URL: "https://api.openai.com/v1" },
      { ANTHROPIC_API_KEY: "sk-acme", ANTHROPIC_BASE_URL: "https://api.anthropic.com/v1" },
      {
        GOOGLE_GENERATIVE_AI_API_KEY: "sk-acme",
        GOOGLE_BASE_URL: "https://generativelanguage.googleapis.com/v1beta",
      },
    ]);
  });

  // Fails when a tenant's base_url leads into the deployment's own network.
  test("goes through the egress guard", async () => {
    rows = [await sealed("openai-compatible", "sk-acme")];
    await expect(generateWith(tenantKeys({ allow: "" }))).rejects.toMatchObject({
      name: "TerminalError",
      code: "egress_blocked",
    });
    expect(server.requests).toEqual([]);
  });

  test("with a key that does not open fails by name, and the operator's key is not used", async () => {
    rows = [await sealed("openai-compatible", "sk-acme")];
    const other = masterKey().parse("cd".repeat(32));
    for (const keysOfTenants of [
      tenantKeys({ master: other }),
      new TenantKeys(async () => rows, { masterKey: null, egress: createEgress("") }),
    ])
      await expect(generateWith(keysOfTenants)).rejects.toMatchObject({
        name: "RetryableError",
        code: "provider_key_sealed",
      });
    expect(server.requests).toEqual([]);
  });

  test("has no word of the key in its error, whatever the provider quotes", async () => {
    rows = [await sealed("openai-compatible", "sk-acme")];
    server.reset(refusal(401, { error: { message: "Incorrect API key provided: sk-acme" } }));
    const error: unknown = await generateWith(tenantKeys()).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "model_unauthorized" });
    expect(String(error)).not.toContain("sk-acme");
  });

  test("that the provider answers in the background reaches it with the key and through the guard, also when it is continued", async () => {
    const responses = new ResponsesServer();
    rows = [await sealed("openai", "k", await responses.start())];
    const begun: string[] = [];
    const generate = (attachTo: string | null, keysOfTenants = tenantKeys()) =>
      createModels({}, 10_000, () => new Map(), null, keysOfTenants).generate({
        model: oa,
        messages: [{ role: "user", content: "go" }],
        tools: [],
        toolChoice: "auto",
        effectKey: "run:a:1:model.1",
        tenant: acme,
        signal,
        onText: () => {},
        background: { attachTo, onBegun: (id) => begun.push(id), onEnded: () => {} },
      });
    try {
      const answer = generate(null);
      await expect.poll(() => begun).toHaveLength(1);
      responses.responses[0]?.cut();
      await expect.poll(() => responses.responses[0]?.connections).toBe(1);
      responses.responses[0]?.sendText("fine");
      responses.responses[0]?.complete();
      expect(await answer).toMatchObject({ text: "fine" });
      const [id = ""] = begun;
      expect(await generate(id)).toMatchObject({ text: "fine" });
      for (const attachTo of [null, id])
        await expect(generate(attachTo, tenantKeys({ allow: "" }))).rejects.toMatchObject({
          code: "egress_blocked",
        });
    } finally {
      responses.stop();
    }
  });
});

// Fails when a tenant that brings a key is served, and billed, by the operator's model all the same.
test.each<[string, string, string[], string]>([
  ["its own provider", "", ["anthropic"], "anthropic/claude-haiku-4-5"],
  ["the first of its providers", "", ["google", "openai"], "openai/gpt-4.1-mini"],
  ["its own provider, also beside DEFAULT_MODEL", "openai/gpt-4.1", ["google"], "google/gemini-2.5-flash"],
  ["DEFAULT_MODEL, with its key there", "openai/gpt-4.1", ["anthropic", "openai"], "openai/gpt-4.1"],
  ["the platform, with a gateway of unknown models", "", ["openai-compatible"], "demo/writer"],
  ["the platform, without a key", "ollama/llama3", [], "ollama/llama3"],
])("the default model of a tenant is that of %s", async (_, DEFAULT_MODEL, providers, model) => {
  rows = await Promise.all(providers.map((provider) => sealed(provider, "sk-acme")));
  const models = createModels({ DEFAULT_MODEL }, 10_000, () => new Map(), null, tenantKeys());
  expect(await models.defaultModelFor(acme, signal)).toBe(model);
  expect(await models.defaultModelFor(globex, signal)).toBe(DEFAULT_MODEL || "demo/writer");
});

describe("the keys of a tenant", () => {
  test("are read once in 5 s, also by calls at the same time and when there are none, and a change acts then", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const keysOfTenants = tenantKeys();
    const isOwn = async (tenant = acme) => (await keysOfTenants.accessOf(tenant, "openai", signal)) !== null;
    expect(await Promise.all([isOwn(), isOwn(), isOwn(globex)])).toEqual([false, false, false]);
    rows = [await sealed("openai", "sk-acme")];
    vi.advanceTimersByTime(4_999);
    expect([await isOwn(), await isOwn(globex)]).toEqual([false, false]);
    expect(reads).toEqual(["acme", "globex"]);
    vi.advanceTimersByTime(1);
    expect(await Promise.all([isOwn(), isOwn()])).toEqual([true, true]);
    expect(reads).toEqual(["acme", "globex", "acme"]);
    rows = [];
    vi.advanceTimersByTime(5_000);
    expect(await isOwn()).toBe(false);
  });

  test("hold while the store does not answer, and a call waits for the first answer", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    let fails = 2;
    const own = await sealed("openai", "sk-acme");
    const keysOfTenants = tenantKeys({
      read: async () => {
        if (fails-- > 0) throw new Error("no store");
        return [own];
      },
    });
    expect(await keysOfTenants.accessOf(acme, "openai", signal)).not.toBeNull();
    expect(fails).toBe(-1);
    fails = 1;
    vi.advanceTimersByTime(5_000);
    expect(await keysOfTenants.accessOf(acme, "openai", signal)).not.toBeNull();
    expect(fails).toBe(0);
  });

  test("end the wait of a call that is stopped", async () => {
    const keysOfTenants = tenantKeys({ read: () => Promise.reject(new Error("no store")) });
    const stop = new AbortController();
    const access = keysOfTenants.accessOf(acme, "openai", stop.signal);
    stop.abort(new Error("cancelled"));
    await expect(access).rejects.toThrow("cancelled");
  });

  test("of 1,000 tenants are kept: the keys of the tenant with the oldest call are read again", async () => {
    const keysOfTenants = tenantKeys();
    const names = Array.from({ length: 1_001 }, (_, i) => TenantId.parse(`t${i}`));
    for (const name of names.slice(0, 1_000)) await keysOfTenants.accessOf(name, "openai", signal);
    await keysOfTenants.accessOf(TenantId.parse("t0"), "openai", signal);
    await keysOfTenants.accessOf(TenantId.parse("t1000"), "openai", signal);
    await keysOfTenants.accessOf(TenantId.parse("t0"), "openai", signal);
    expect(reads).toEqual(names);
    await keysOfTenants.accessOf(TenantId.parse("t1"), "openai", signal);
    expect(reads).toEqual([...names, "t1"]);
  });

  // Fails when workers that are deployed before the edges make no model call until those are.
  test("are none behind an edge of an earlier version, which does not know them", async () => {
    const edge: Server = createServer((_request, response) => response.writeHead(404).end("{}"));
    await new Promise<void>((resolve) => edge.listen(0, "127.0.0.1", resolve));
    const address = edge.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const store = edgeStateStore(`http://127.0.0.1:${address.port}`, "secret");
    const keysOfTenants = tenantKeys({ read: (tenant) => store.readProviderKeys(tenant) });
    expect(await keysOfTenants.accessOf(acme, "openai", signal)).toBeNull();
    edge.close();
  });
});
