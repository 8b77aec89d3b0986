/** Keys of tenants at providers, from the API to the provider's server: docs/protocol.md 5.34. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { masterKey } from "../../shared/security/master-keys.ts";
import { providerKeyPlace } from "../../shared/contracts/provider-key.ts";
import { seal } from "../../shared/security/seal.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { ProviderServer, text } from "../worker-node/models/provider-server.ts";
import { until } from "../services/waiting.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
let acme: string;
let globex: string;
const provider = new ProviderServer();
const AT = "/api/v2/provider-keys/openai-compatible";

beforeAll(async () => {
  await provider.start();
  provider.reset((response, { headers }) => {
    const isLimited = headers["authorization"] === "Bearer sk-limited";
    if (isLimited) response.writeHead(429, { "retry-after": "600" }).end("{}");
    else response.writeHead(200, { "content-type": "text/event-stream" }).end(text());
  });
  api = await startApi();
  [acme, globex] = [await api.stores.key("acme"), await api.stores.key("globex")];
  await api.define("orchestrations", "calls", {
    name: "calls",
    entry_step_id: "a",
    steps: [
      { id: "a", type: "llm", model: "openai-compatible/m1", prompt_template: "go", retry: { attempts: 1 } },
    ],
  });
  await api.startWorker("a", {
    EGRESS_ALLOW: "127.0.0.1",
    OPENAI_COMPATIBLE_BASE_URL: `${provider.url}/v1`,
    OPENAI_COMPATIBLE_API_KEY: "sk-operator",
  });
});
afterAll(async () => {
  await api.stop();
  provider.stop();
});

async function start(key: string): Promise<string> {
  const answer = await api.call("POST", "/api/v2/orchestrations/calls/run", { key, body: {} });
  return String((await bodyOf(answer)).run_id);
}
/** Executes a run with this API key. @returns the Authorization header of its model call */
async function keyOfRun(key: string): Promise<unknown> {
  const before = provider.requests.length;
  expect(await untilEnd(api, await start(key))).toBe("completed");
  return provider.requests[before]?.headers["authorization"];
}
async function saveKey(api_key: string): Promise<void> {
  const answer = await api.call("PUT", AT, { key: acme, body: { api_key, base_url: `${provider.url}/v1` } });
  expect(answer.status).toBe(200);
}

test("runs use their tenant's provider key once it is saved, and the operator's once it is deleted; runs of other tenants never use it", async () => {
  expect(await keyOfRun(acme)).toBe("Bearer sk-operator");
  await saveKey("sk-acme");
  await expect.poll(() => keyOfRun(acme)).toBe("Bearer sk-acme");
  expect(await keyOfRun(globex)).toBe("Bearer sk-operator");
  expect((await api.call("DELETE", AT, { key: acme })).status).toBe(204);
  await expect.poll(() => keyOfRun(acme)).toBe("Bearer sk-operator");
});

test("a rate limit of a tenant's provider key makes runs of that tenant wait, and no others", async () => {
  await saveKey("sk-limited");
  const read = async (run: string, what: string) => bodyOf(await api.call("GET", runPath(run, what)));
  // Runs complete with the operator's key until the worker has read the tenant's. The first run with that key fails, and the next
  // one waits for the provider.
  const outcomeOf = async (run: string) => {
    const { status } = await read(run, "status");
    return status === "completed" || status === "failed" ? status : (await read(run, "why")).reason;
  };
  const seen: unknown[] = [];
  for (let run = await start(acme); seen.at(-1) !== "provider_limit"; run = await start(acme)) {
    const isKnown = async () =>
      ["completed", "failed", "provider_limit"].includes(String(await outcomeOf(run)));
    await until(`${run} has ended or waits for its provider`, isKnown);
    seen.push(await outcomeOf(run));
  }
  expect(seen).toContain("failed");
  expect(await keyOfRun(globex)).toBe("Bearer sk-operator");
});

test("a key that was sealed under another MASTER_KEY fails the step by name, and the operator's key is not used", async () => {
  const other = masterKey().parse("cd".repeat(32));
  const sealed = await seal(other, "sk-lost", providerKeyPlace("lost", "openai-compatible"));
  await api.stores.sql`
    insert into provider_keys (tenant_id, provider, api_key) values ('lost', 'openai-compatible', ${sealed})`;
  const before = provider.requests.length;
  const run = await start(await api.stores.key("lost"));
  expect(await untilEnd(api, run)).toBe("failed");
  const result = await (await api.call("GET", runPath(run, "result"))).text();
  expect(result).toContain("provider_key_sealed");
  expect(provider.requests).toHaveLength(before);
});
