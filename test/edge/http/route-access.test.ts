import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { newUploadId } from "../../../shared/contracts/artifact.ts";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { beginUpload, completeUpload } from "../../../shared/store/files/uploads.ts";
import { queueMail } from "../../../shared/store/mails/queue-mail.ts";
import { newApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { Scope } from "../../../shared/contracts/tenant.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker, failRun } from "../fake-workers.ts";
import { MASTER_KEY } from "../test-stores.ts";

const Operation = z.looseObject({ security: z.array(z.record(z.string(), z.array(z.string()))) });
const Paths = z.record(z.string(), z.record(z.string(), Operation));
type Route = { method: string; template: string; scope: Scope };

let app: TestApp;
let routes: Route[];
let keys: Record<"owner" | "other" | "platform" | "revoked" | "expired", string>;
/** Ids of acme's resources, by the parameter of the paths that takes them. */
let ids: Record<string, string>;

beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
  const { stores } = app;
  keys = {
    owner: await stores.key("acme"),
    other: await stores.key("globex"),
    platform: app.platformKey,
    revoked: await stores.key("acme"),
    expired: await stores.key("acme", Scope.options, new Date(Date.now() - 1_000)),
  };
  await stores.sql`update api_keys set revoked_at = now() where prefix = ${keys.revoked.slice(0, 12)}`;
  for (const tenant_id of ["acme", "globex"])
    await app.call("POST", "/scale/tenants", { body: { tenant_id } });
  const put = async (path: string, body: object) => {
    const answer = await app.call("PUT", `/api/v2/${path}`, { key: keys.owner, body });
    if (!answer.ok) throw new Error(`PUT ${path}: ${await answer.text()}`);
  };
  await put("orchestrations/acme-graph", {
    name: "G",
    entry_step_id: "a",
    steps: [{ id: "a", name: "A", type: "end" }],
  });
  await put("agents/acme-agent", { name: "A" });
  await put("tools/acme-tool", {
    name: "acme-tool",
    description: "d",
    tool_type: "http",
    method: "GET",
    url: "https://example.com/",
  });
  await app.call("PUT", "/scale/budgets/acme-budget", {
    key: keys.owner,
    body: { scope: "tenant", limit_usd: 1 },
  });
  await put("mcp-servers/acme-mcp", { url: "https://example.com/mcp" });
  await put("schedules/acme-schedule", {
    orchestration_id: "acme-graph",
    cron: "0 3 * * *",
    timezone: "Europe/Berlin",
  });
  const post = async (path: string, body: object) => {
    const answer = await app.call("POST", `/api/v2/${path}`, { key: keys.owner, body });
    if (!answer.ok) throw new Error(`POST ${path}: ${await answer.text()}`);
    return bodyOf(answer);
  };
  const batch = await post("orchestrations/acme-graph/runs:batch", { items: [{}] });
  const trigger = await post("triggers", { name: "t", orchestration_id: "acme-graph" });
  const upload_id = newUploadId();
  await beginUpload(stores.sql, {
    upload_id,
    tenant_id: TenantId.parse("acme"),
    name: "a.txt",
    content_type: "text/plain",
    bytes: 1,
  });
  await completeUpload(stores.sql, upload_id, "0".repeat(64));
  await app.call("PUT", "/scale/tenants/acme/smtp", {
    key: keys.owner,
    body: { smtp_url: "smtp://u:p@mail.example.com", smtp_from: "a@acme.example" },
  });
  await put("provider-keys/openai", { api_key: "sk-acme" });
  await put("webhook-endpoints/acme-hook", { url: "https://hooks.example.com/" });
  const webhook_url = "https://hooks.example.com/";
  const start = () => startRun(app, { key: keys.owner, body: { webhook_url } });
  const failed = await failRun(stores.sql, await start());
  const [delivery] = await stores.sql<
    { delivery_id: string }[]
  >`select delivery_id from webhook_deliveries where endpoint_id is null`;
  const createdKey = await app.call("POST", "/scale/api-keys", {
    key: keys.owner,
    body: { name: "n", scopes: ["runs:read"] },
  });
  const message_id = "<acme-mail@example.org>";
  const content = { to: ["ann@example.com"], cc: [], subject: "S", text: "t", html: null, reply_to: null };
  const run_id = RunId.parse(await start());
  await queueMail(stores.sql, { message_id, run_id, priority: 0, send_at: null, content });
  await FakeWorker.claim(stores.sql, await start());
  // It is offline, so it is not asked for its health; it owns a run, so it is not removed.
  await stores.sql`update workers set beat_at = now() - interval '91 seconds'`;
  ids = {
    runs: await start(),
    orchestrations: "acme-graph",
    agents: "acme-agent",
    tools: "acme-tool",
    "mcp-servers": "acme-mcp",
    batches: String(batch.batch_id),
    schedules: "acme-schedule",
    triggers: String(trigger.id),
    uploads: upload_id,
    budgets: "acme-budget",
    dlq: `${failed.run}.${failed.seq}`,
    "webhook-endpoints": "acme-hook",
    webhooks: delivery?.delivery_id ?? "",
    "api-keys": String((await bodyOf(createdKey)).id),
    tenants: "acme",
    workers: "w",
    mails: message_id,
    chat: await startChat(),
  };
  routes = Object.entries(
    Paths.parse((await bodyOf(await app.call("GET", "/api/v2/openapi.json"))).paths),
  ).flatMap(([template, operations]) =>
    Object.entries(operations).flatMap(([method, { security }]) => {
      const scope = Scope.safeParse(security[0]?.key?.[0]);
      return scope.success ? [{ method: method.toUpperCase(), template, scope: scope.data }] : [];
    }),
  );
});
afterAll(() => app.stop());

/** Starts a session of acme's agent. @returns its id */
async function startChat(): Promise<string> {
  const body = { message: "hi", agent: "acme-agent" };
  const answer = await bodyOf(await app.call("POST", "/api/v2/chat", { key: keys.owner, body }));
  return String(answer.session_id);
}

/** The path to something that acme has. */
function pathOf(template: string): string {
  return template
    .replace("{name}", "a~b")
    .replace("{lane}", "bulk")
    .replace("{provider}", "openai")
    .replaceAll(/([\w-]+)\/\{(?:id|run_id|batch_id|session_id)\}/g, (_, kind: string) => {
      const id = ids[kind];
      if (id === undefined) throw new Error(`there is no ${kind} to try ${template} with: add one here`);
      return `${kind}/${encodeURIComponent(id)}`;
    });
}

/** Valid bodies, for routes that look their resource up only after validation. Other routes get {}. */
const BODIES: Record<string, object> = {
  "/api/v2/orchestrations/runs/{run_id}/resume": { response: "yes" },
  "/api/v2/orchestrations/{id}/runs:batch": { items: [{}] },
  "/api/v2/chat/{session_id}": { title: "Renamed" },
};

const call = ({ method, template }: Route, key: string | null) =>
  app.call(method, pathOf(template), {
    key,
    ...(["POST", "PUT", "PATCH"].includes(method) && { body: BODIES[template] ?? {} }),
  });

async function callAll(
  key: string | null,
  check: (route: Route, answer: Response) => Promise<unknown>,
): Promise<void> {
  for (const route of routes) {
    const answer = await call(route, key);
    const outcome = await check(route, answer);
    if (!answer.bodyUsed) await answer.body?.cancel();
    expect({ route: `${route.method} ${route.template}`, outcome }).toEqual({
      route: `${route.method} ${route.template}`,
      outcome: AS_EXPECTED,
    });
  }
}
const AS_EXPECTED = "as expected";
const status = (expected: number) => async (_route: Route, answer: Response) =>
  answer.status === expected ? AS_EXPECTED : answer.status;

/** The operator's routes: a tenant's key is refused, whatever its scopes are. */
const PLATFORM_ROUTES =
  /\/api\/v2\/metrics$|\/scale\/(workers|queue|config$|config\/test-smtp$|master-keys$|test-|model-prices$|provider-limits$)|^(GET|POST) .*\/scale\/tenants$|^(PATCH|DELETE) .*\/scale\/tenants\/\{id\}$/;
const isPlatformRoute = ({ method, template }: Route) => PLATFORM_ROUTES.test(`${method} ${template}`);

describe("every route that requires a key", () => {
  test("is in the table", () => expect(routes.length).toBeGreaterThan(80));

  test.each([
    ["no key", () => null],
    ["an unknown key", () => newApiKey()],
    ["a revoked key", () => keys.revoked],
    ["an expired key", () => keys.expired],
  ])("answers 401 to %s", (_what, keyOf) => callAll(keyOf(), status(401)));

  test.each(Scope.options)(
    "answers 403 to a key that has every scope but %s, where it needs that",
    async (scope) => {
      const key = await app.stores.key(
        "acme",
        Scope.options.filter((each) => each !== scope),
      );
      const all = routes;
      routes = all.filter((route) => route.scope === scope);
      try {
        await callAll(key, status(403));
      } finally {
        routes = all;
      }
    },
  );

  // Fails when a route reads or changes something of another tenant, or says that it exists.
  test("answers another tenant's key as if acme's resources did not exist", () =>
    callAll(keys.other, async (route, answer) => {
      if (isPlatformRoute(route)) return answer.status === 403 ? AS_EXPECTED : answer.status;
      const isNamed = route.template.includes("{") && route.method !== "PUT";
      if (isNamed) return answer.status === 404 ? AS_EXPECTED : answer.status;
      // A list of its own, or a body that is not valid, or an upload without a length.
      if (![200, 411, 422].includes(answer.status)) return answer.status;
      const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream");
      // The audit shows globex its own requests, which name what acme has.
      const isOwn = isStream || route.template.endsWith("/scale/audit");
      const text = isOwn ? "" : await answer.text();
      // The fleet is no tenant's: a tenant's key sees which workers there are.
      const seen = Object.entries(ids).filter(([kind, id]) => kind !== "workers" && text.includes(id));
      return seen.length === 0 ? AS_EXPECTED : { shows: seen };
    }));

  // Last, because it deletes what acme has; what is deleted is not called again, except by its second prefix.
  test("serves the right key", async () => {
    const order = ({ method, template }: Route) => {
      if (method !== "DELETE") return 1;
      // A dead letter that was retried cannot be dismissed.
      return template.includes("/dlq/") ? 0 : template.endsWith("/tenants/{id}") ? 3 : 2;
    };
    routes = routes.toSorted((a, b) => order(a) - order(b));
    const deleted = new Set<string>();
    await callAll(keys.owner, async (route, answer) => {
      const response = isPlatformRoute(route) ? await call(route, keys.platform) : answer;
      const { status: code } = response;
      if (response !== answer) await response.body?.cancel();
      const place = `${route.method} ${route.template.replace(/^\/api\/scale/, "/scale")}`;
      const isRepeated = route.method === "DELETE" && deleted.has(place);
      deleted.add(place);
      // No artifact was written, nor the bytes of the upload; a worker that owns a run is not removed (409); an upload has no
      // length (411); {} is not what most other bodies are (422).
      const isAbsent = /\/artifacts\/\{name\}$|^GET .*\/uploads\/\{id\}$/.test(place) || isRepeated;
      const served = code < 400 || [409, 411, 422].includes(code) || (isAbsent && code === 404);
      // No worker answers, or sends the test of an endpoint.
      const noWorkerAnswers = route.template.endsWith("/workers/{id}/health") && code === 504;
      const tested = route.template.endsWith("/webhook-endpoints/{id}/test") && code === 503;
      return served || noWorkerAnswers || tested ? AS_EXPECTED : code;
    });
  });
});
