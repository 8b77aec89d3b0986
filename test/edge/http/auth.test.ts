import { z } from "zod";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { newApiKey, revokeApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { Scope } from "../../../shared/contracts/tenant.ts";
import { bodyOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";

let app: TestApp;
let routes: { method: string; path: string; scopes: string[] }[];
beforeAll(async () => {
  app = await startApp();
  const document = await bodyOf(await app.call("GET", "/api/v2/openapi.json"));
  routes = securedRoutes(document);
});
afterAll(() => app.stop());

const Operation = z.looseObject({ security: z.array(z.record(z.string(), z.array(z.string()))).optional() });
const Paths = z.record(z.string(), z.record(z.string(), Operation));

function securedRoutes(document: Record<string, unknown>) {
  const paths = Paths.parse(document.paths);
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, { security }]) => {
      const scopes = security?.[0]?.key;
      const concrete = path.replaceAll(/\{[^}]+\}/g, "orch_nowhere");
      return scopes ? [{ method: method.toUpperCase(), path: concrete, scopes }] : [];
    }),
  );
}

/** Sends the same request to every route that requires a key. */
async function callAll(key: string | null, headers: Record<string, string> = {}) {
  const answers = [];
  for (const { method, path } of routes) {
    const body = method === "POST" || method === "PUT" ? {} : undefined;
    const answer = await app.call(method, path, { key, headers, ...(body && { body }) });
    answers.push({ route: `${method} ${path}`, answer });
  }
  return answers;
}

describe("every route that requires a key", () => {
  test("is in the list", () => expect(routes.length).toBeGreaterThanOrEqual(24));

  for (const [what, keyOf, headers] of [
    ["no key", () => null, {}],
    ["another scheme", () => null, { authorization: "Basic c2s6c2s=" }],
    ["a key of the wrong shape", () => "sk-syn-1234", {}],
    ["an unknown key", () => newApiKey(), {}],
    ["an expired key", () => app.stores.key(null, Scope.options, new Date(Date.now() - 1000)), {}],
    [
      "a revoked key",
      async () => {
        const key = await app.stores.key(null);
        const [row] = await app.stores.sql<{ key_id: string }[]>`
          select key_id from api_keys order by created_at desc limit 1`;
        await revokeApiKey(app.stores.sql, row?.key_id ?? "");
        return key;
      },
      {},
    ],
  ] as const) {
    test(`returns 401 and the scheme for ${what}`, async () => {
      const key = await keyOf();
      for (const { route, answer } of await callAll(key, headers)) {
        expect([route, answer.status, answer.headers.get("www-authenticate")]).toEqual([
          route,
          401,
          "Bearer",
        ]);
        const problem = await bodyOf(answer);
        expect(problem).toMatchObject({ status: 401, code: "unauthorized" });
        if (key) expect(JSON.stringify(problem)).not.toContain(key);
      }
    });
  }

  test("returns 403 for a key without its scope", async () => {
    for (const { method, path, scopes } of routes) {
      const otherScopes = Scope.options.filter((scope) => !scopes.includes(scope));
      const body = method === "POST" || method === "PUT" ? {} : undefined;
      const answer = await app.call(method, path, {
        key: await app.stores.key(null, otherScopes),
        ...(body && { body }),
      });
      expect([method, path, answer.status]).toEqual([method, path, 403]);
    }
  });

  test("never returns 401 or 403 for a platform key with all scopes", async () => {
    for (const { route, answer } of await callAll(app.platformKey)) {
      expect([route, [401, 403].includes(answer.status) || answer.status >= 500]).toEqual([route, false]);
    }
  });
});

// A cache that knows requests by their URL alone would send one tenant's answer to another one's key.
test("no answer is kept by a cache, with a key, without one, and where there is no path", async () => {
  const known = [...(await callAll(app.platformKey)), ...(await callAll(null))];
  for (const path of ["/livez", "/health", "/api/v2/openapi.json", "/api/v3/chat"]) {
    known.push({ route: path, answer: await app.call("GET", path, { key: "" }) });
  }
  for (const { route, answer } of known) {
    expect([route, answer.status, answer.headers.get("cache-control")]).toEqual([
      route,
      answer.status,
      expect.stringMatching(/no-store|no-cache/),
    ]);
  }
});

describe("a tenant's key", () => {
  test("gets 404 for another tenant's run, on every route of a run", async () => {
    const run = await startRun(app, { key: await app.stores.key("acme") });
    const other = await app.stores.key("globex");
    for (const rest of ["status", "result", "stream", "events"]) {
      expect([rest, (await app.call("GET", runPath(run, rest), { key: other })).status]).toEqual([rest, 404]);
    }
    expect((await app.call("POST", runPath(run, "stream-token"), { key: other })).status).toBe(404);
    expect((await app.call("GET", `/api/v2/events/stream?runs=${run}`, { key: other })).status).toBe(404);
  });

  test("gets 403 when it names another tenant", async () => {
    const key = await app.stores.key("acme");
    const answer = await app.call("POST", RUN, { key, body: { message: "hi", tenant_id: "globex" } });
    expect(answer.status).toBe(403);
    expect((await app.call("GET", "/api/v2/orchestrations?tenant_id=globex", { key })).status).toBe(403);
    expect((await app.call("POST", RUN, { key, body: { message: "hi", tenant_id: "acme" } })).status).toBe(
      202,
    );
  });

  test("may not read or change tenants, whatever its scopes", async () => {
    const key = await app.stores.key("acme");
    expect((await app.call("GET", "/scale/tenants", { key })).status).toBe(403);
    expect((await app.call("POST", "/api/scale/tenants", { key, body: { tenant_id: "acme" } })).status).toBe(
      403,
    );
  });

  test("reads its own definitions and the shared ones, and no other tenant's", async () => {
    const acme = await app.stores.key("acme");
    const globex = await app.stores.key("globex");
    const definition = { name: "Mine", entry_step_id: "a", steps: [{ id: "a", name: "A", type: "end" }] };
    const path = "/api/v2/orchestrations/orch_mine";
    expect((await app.call("PUT", path, { key: acme, body: definition })).status).toBe(200);
    expect((await app.call("GET", path, { key: acme })).status).toBe(200);
    expect((await app.call("GET", path, { key: globex })).status).toBe(404);
    expect((await app.call("DELETE", path, { key: globex })).status).toBe(404);
    expect((await app.call("POST", `${path}/run`, { key: globex, body: {} })).status).toBe(404);
    expect((await app.call("GET", "/api/v2/orchestrations/orch_smoke", { key: globex })).status).toBe(200);
  });

  // Fails when the refusal says that the shared definition does not exist: the same key can read it.
  test.each(["orchestrations", "agents", "tools", "mcp-servers"])(
    "cannot delete one of the shared %s, and the error names the owner; another tenant's does not exist for it",
    async (kind) => {
      const bodies: Record<string, object> = {
        orchestrations: { name: "S", entry_step_id: "a", steps: [{ id: "a", name: "A", type: "end" }] },
        agents: { name: "S" },
        tools: { tool_type: "http", url: "https://tools.example.com/x" },
        "mcp-servers": { url: "https://mcp.example.com/mcp" },
      };
      const [acme, globex] = [await app.stores.key("acme"), await app.stores.key("globex")];
      const path = (id: string) => `/api/v2/${kind}/${id}`;
      const save = (id: string, key?: string) =>
        app.call("PUT", path(id), { body: bodies[kind] ?? {}, ...(key !== undefined && { key }) });
      expect((await save("of_platform")).status).toBe(200);
      expect((await save("of_acme", acme)).status).toBe(200);
      const refusal = async (id: string, options: object) => {
        const { status, detail } = await bodyOf(await app.call("DELETE", path(id), options));
        return [status, detail];
      };
      const shared = [404, expect.stringMatching(/of_platform is the platform's.* tenant globex /)];
      expect(await refusal("of_platform", { key: globex })).toEqual(shared);
      const named = await bodyOf(await app.call("DELETE", `${path("of_platform")}?tenant_id=globex`));
      expect([named.status, named.detail]).toEqual(shared);
      expect(await refusal("of_acme", { key: globex })).toEqual([
        404,
        expect.stringMatching(/^There is no .* of_acme\.$/),
      ]);
      expect((await app.call("GET", path("of_platform"), { key: globex })).status).toBe(200);
      expect((await app.call("DELETE", path("of_platform"))).status).toBe(204);
    },
  );
});

test("a revoked key still works in an isolate that has cached it, for 30 s at most, also when the clock is set back", async () => {
  const key = await app.stores.key(null);
  expect((await app.call("GET", "/api/v2/workers", { key })).status).toBe(200);
  await app.stores.sql`update api_keys set revoked_at = now() where prefix = ${key.slice(0, 12)}`;
  expect((await app.call("GET", "/api/v2/workers", { key })).status).toBe(200);
  // Fails when the age of what is cached is the difference of two times of day.
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  vi.setSystemTime(Date.now() - 3_600_000);
  expect((await app.call("GET", "/api/v2/workers", { key })).status).toBe(200);
  vi.setSystemTime(Date.now() + 30_000);
  expect((await app.call("GET", "/api/v2/workers", { key })).status).toBe(401);
});
