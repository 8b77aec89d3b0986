/** The keys of tenants at providers of models: docs/protocol.md 5.34. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { providerKeyPlace } from "../../../shared/contracts/provider-key.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { unseal } from "../../../shared/security/seal.ts";
import { bodyOf, startApp, type TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";

let app: TestApp;
let acme: string;
let globex: string;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY, EGRESS_ALLOW: "models.internal" });
  [acme, globex] = [await app.stores.key("acme"), await app.stores.key("globex")];
});
afterAll(() => app.stop());
afterEach(async () => {
  await app.stores.sql`truncate provider_keys`;
});

const LIST = "/api/v2/provider-keys";
const AT = `${LIST}/openai`;
const KEY = "sk-canary-sesame";
const put = (body: object, { key = acme, path = AT } = {}) => app.call("PUT", path, { key, body });
const refusalOf = async (answer: Response) => {
  const text = await answer.text();
  expect(text).not.toContain("sesame");
  return { status: answer.status, errors: JSON.parse(text).errors };
};

describe("the key of a tenant at a provider", () => {
  test("is saved sealed for its tenant and provider, and no answer and no audit has it", async () => {
    const saved = await put({ api_key: KEY });
    expect(saved.status).toBe(200);
    const shown = {
      tenant_id: "acme",
      provider: "openai",
      api_key: "********",
      base_url: null,
      created_at: expect.stringMatching(/Z$/),
      updated_at: expect.stringMatching(/Z$/),
    };
    expect(await bodyOf(saved)).toEqual(shown);
    expect(await bodyOf(await app.call("GET", AT, { key: acme }))).toEqual(shown);
    const [row] = await app.stores.sql`select api_key from provider_keys where tenant_id = 'acme'`;
    const sealed = String(row?.["api_key"]);
    expect(sealed).not.toContain("sesame");
    const keys = masterKey().parse(MASTER_KEY);
    expect(await unseal(keys, sealed, providerKeyPlace("acme", "openai"))).toBe(KEY);
    for (const place of [providerKeyPlace("globex", "openai"), providerKeyPlace("acme", "google")])
      await expect(unseal(keys, sealed, place)).rejects.toThrow("another place");
  });

  test("is in the audit with its provider and its tenant, and without the key", async () => {
    await put({ api_key: KEY });
    await app.call("DELETE", AT, { key: acme });
    await app.settled();
    const audit = await (await app.call("GET", "/scale/audit", { key: acme })).text();
    const { data } = JSON.parse(audit);
    const target = { target: "openai", tenant_id: "acme" };
    expect(data.slice(0, 2)).toEqual([
      expect.objectContaining({ ...target, action: "deleteProviderKey", status: 204 }),
      expect.objectContaining({ ...target, action: "putProviderKey", status: 200 }),
    ]);
    expect(audit).not.toContain("sesame");
  });

  test("is replaced as a whole, and the time of its first save stays", async () => {
    const first = await bodyOf(await put({ api_key: KEY, base_url: "https://models.example.com/v1" }));
    const second = await bodyOf(await put({ api_key: "sk-other" }));
    expect(second).toMatchObject({ base_url: null, created_at: first.created_at });
    expect(await app.stores.sql`select from provider_keys`).toHaveLength(1);
  });

  test("is listed by provider: a tenant has at most one key of each provider", async () => {
    await put({ api_key: KEY });
    await put({ api_key: KEY }, { path: `${LIST}/anthropic` });
    const list = await (await app.call("GET", LIST, { key: acme })).text();
    expect(JSON.parse(list)).toMatchObject([{ provider: "anthropic" }, { provider: "openai" }]);
    expect(list).not.toContain("sesame");
  });

  test("belongs to its tenant: another one's key does not find it, and a platform key names the tenant", async () => {
    await put({ api_key: KEY });
    for (const method of ["GET", "DELETE"])
      expect((await app.call(method, AT, { key: globex })).status).toBe(404);
    expect(await (await app.call("GET", LIST, { key: globex })).json()).toEqual([]);
    expect((await app.call("GET", `${AT}?tenant_id=acme`, { key: globex })).status).toBe(403);
    expect((await app.call("GET", AT)).status).toBe(404);
    expect((await app.call("GET", `${AT}?tenant_id=acme`)).status).toBe(200);
    expect((await app.call("DELETE", AT, { key: acme })).status).toBe(204);
    expect((await app.call("GET", AT, { key: acme })).status).toBe(404);
  });

  test.each(["ollama", "demo", "gemini", "openia"])(
    "of an unknown provider is refused with the list of providers: %s",
    async (provider) => {
      const answer = await refusalOf(await put({ api_key: KEY }, { path: `${LIST}/${provider}` }));
      const message = "must be one of openai, anthropic, google, openai-compatible";
      expect(answer).toEqual({ status: 422, errors: [{ path: "provider", message }] });
    },
  );

  test.each([
    [{ api_key: "********" }, "api_key", /mask/],
    [{ api_key: "sk canary-sesame" }, "api_key", /without spaces/],
    [{ api_key: `${KEY}\r\nx-other: 1` }, "api_key", /without spaces/],
    [{ api_key: "" }, "api_key", /API key/],
    [{}, "api_key", /./],
    [{ api_key: KEY, base_url: "ftp://models.example.com" }, "base_url", /http or https/],
    [{ api_key: KEY, base_url: "https://user:sesame@models.example.com" }, "base_url", /nothing else/],
    [{ api_key: KEY, base_url: "https://models.example.com/v1?key=sesame" }, "base_url", /nothing else/],
  ])("is refused with the path of the field that is wrong: %j", async (body, path, message) => {
    const answer = await refusalOf(await put(body));
    expect(answer).toEqual({ status: 422, errors: [{ path, message: expect.stringMatching(message) }] });
  });

  // Fails when a tenant's key can lead the workers into the deployment's own network.
  test.each([
    ["http://127.0.0.1:8080/v1", 422],
    ["http://[::1]/v1", 422],
    ["http://169.254.169.254/v1", 422],
    ["https://models.example.com:25/v1", 422],
    ["http://models.internal:8080/v1", 200],
    ["https://models.example.com/v1", 200],
  ])("may have a base_url that the operator allows, and no other: %s is %i", async (base_url, status) => {
    expect((await put({ api_key: KEY, base_url })).status).toBe(status);
  });

  test("of openai-compatible needs a base_url", async () => {
    const path = `${LIST}/openai-compatible`;
    expect((await refusalOf(await put({ api_key: KEY }, { path }))).errors).toEqual([
      { path: "base_url", message: expect.stringContaining("is required") },
    ]);
    const base_url = "https://models.example.com/v1";
    expect(await bodyOf(await put({ api_key: KEY, base_url }, { path }))).toMatchObject({ base_url });
  });
});

test("without MASTER_KEY no key is stored", async () => {
  const bare = await startApp();
  try {
    const answer = await bare.call("PUT", `${AT}?tenant_id=acme`, { body: { api_key: KEY } });
    expect(await refusalOf(answer)).toEqual({
      status: 422,
      errors: [{ path: "api_key", message: expect.stringContaining("MASTER_KEY") }],
    });
    expect(await bare.stores.sql`select from provider_keys`).toEqual([]);
  } finally {
    await bare.stop();
  }
});
