import fc from "fast-check";
import { bodyOf, startRun } from "../app.ts";
import type { TestApp } from "../app.ts";
import { FakeWorker, failRun } from "../fake-workers.ts";
import { FakeJournalWriter } from "../test-stores.ts";
import { readDocument } from "./document.ts";
import type { Checks } from "./document.ts";
import { requestOf } from "./requests.ts";
import type { FuzzRequest, Pools } from "./requests.ts";

/** `wrong`: each kind once, with the request that shows it. `served`: how many requests were answered with 2xx. */
export type Fuzzed = { wrong: string[]; served: number };

/**
 * Sends this many requests that are made from the API's own document, and compares each answer with it.
 * @param seed the same seed sends the same requests, as far as they do not name what this test made
 */
export async function fuzzApi(app: TestApp, count: number, seed: number): Promise<Fuzzed> {
  const document = await bodyOf(await app.call("GET", "/api/v2/openapi.json"));
  const { operations, schemas, checks } = readDocument(document);
  const pools = await prepare(app);
  const wrong = new Map<string, string>();
  const rounds = Math.ceil(count / operations.length);
  const requests = operations.map((operation, index) =>
    fc.sample(requestOf(operation, schemas, pools), { seed: seed + index, numRuns: rounds }),
  );
  let served = 0;
  // In rounds, so that later requests can name what earlier operations have created.
  for (let round = 0; round < rounds; round++) {
    for (const request of requests.flatMap((each) => each.slice(round, round + 1))) {
      const { found, isServed } = await send(app, checks, request);
      if (isServed) served += 1;
      if (found === null) continue;
      const kind = `${request.operation.operationId.replace(/AtApi$/, "")}: ${found.replaceAll(/\d+/g, "N").slice(0, 120)}`;
      if (!wrong.has(kind)) wrong.set(kind, `${shown(request)} -> ${found}`);
    }
  }
  return { wrong: [...wrong.values()], served };
}

async function send(
  app: TestApp,
  checks: Checks,
  request: FuzzRequest,
): Promise<{ found: string | null; isServed: boolean }> {
  const { operation, path, key, headers, body } = request;
  const answer = await app.call(operation.method.toUpperCase(), path, {
    key,
    headers: { ...headers, ...(body && { "content-type": body.type }) },
    ...(body && { body: body.text }),
  });
  const isStream = answer.headers.get("content-type")?.startsWith("text/event-stream") === true;
  const text = isStream ? null : await answer.text();
  if (isStream) await answer.body?.cancel();
  const isServed = answer.ok;
  const wrong = checks.wrongInAnswer(operation, answer, text);
  if (wrong !== null || !isServed || body?.value === undefined) return { found: wrong, isServed };
  const isAllowed = headers["prefer"] === "handling=lenient" || checks.allowsBody(operation, body.value);
  const found = `the body is served with ${answer.status}, and the document does not allow it`;
  return { found: isAllowed ? null : found, isServed };
}

function shown({ operation, path, key, headers, body }: FuzzRequest): string {
  const text = typeof body?.text === "string" ? body.text.slice(0, 600) : body === null ? "" : "(bytes)";
  return `${operation.method.toUpperCase()} ${path} ${key === null ? "without a key" : ""} ${JSON.stringify(headers)} ${body?.type ?? ""} ${text}`;
}

/** Makes one of each thing that a path can name, for one tenant; another tenant's key does not see them. */
async function prepare(app: TestApp): Promise<Pools> {
  const { stores } = app;
  const owner = await stores.key("acme");
  const make = async (method: string, path: string, body: object) => {
    const answer = await app.call(method, path, { key: owner, body });
    if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
    return bodyOf(answer);
  };
  for (const tenant_id of ["acme", "globex", "spare"])
    await app.call("POST", "/scale/tenants", { body: { tenant_id } });
  const graph = { name: "G", entry_step_id: "a", steps: [{ id: "a", name: "A", type: "end" }] };
  await make("PUT", "/api/v2/orchestrations/acme-graph", graph);
  await make("PUT", "/api/v2/agents/acme-agent", { name: "A" });
  const http = { description: "d", tool_type: "http", method: "GET", url: "https://example.com/" };
  await make("PUT", "/api/v2/tools/acme-tool", { name: "acme-tool", ...http });
  await make("PUT", "/api/v2/mcp-servers/acme-mcp", { url: "https://example.com/mcp" });
  await make("PUT", "/api/v2/schedules/acme-schedule", { orchestration_id: "acme-graph", cron: "0 3 * * *" });
  await make("PUT", "/api/v2/webhook-endpoints/acme-hook", { url: "https://hooks.example.com/" });
  await make("PUT", "/scale/budgets/acme-budget", { scope: "tenant", limit_usd: 1 });
  const trigger = await make("POST", "/api/v2/triggers", { orchestration_id: "acme-graph" });
  const batch = await make("POST", "/api/v2/orchestrations/acme-graph/runs:batch", { items: [{}] });
  const chat = await make("POST", "/api/v2/chat", { message: "hi", agent: "acme-agent" });
  const apiKey = await make("POST", "/scale/api-keys", { name: "n", scopes: ["runs:read"] });
  const start = () => startRun(app, { key: owner, body: { webhook_url: "https://hooks.example.com/" } });
  const failed = await failRun(stores.sql, await start());
  await FakeWorker.claim(stores.sql, await start());
  // It is offline, so it is not asked for its health.
  await stores.sql`update workers set beat_at = now() - interval '91 seconds'`;
  // A run with the events of a real one: those of FakeWorker have no times.
  const ended = new FakeJournalWriter(stores, await start());
  await ended.claim();
  await ended.text("Redis");
  await ended.end(false);
  const deliveries = await stores.sql<{ id: string }[]>`select delivery_id as id from webhook_deliveries`;
  return {
    ids: {
      runs: [ended.run, await start(), await start()],
      orchestrations: ["acme-graph", "orch_smoke", "fresh"],
      agents: ["acme-agent", "fresh"],
      tools: ["acme-tool", "fresh"],
      "mcp-servers": ["acme-mcp", "fresh"],
      batches: [String(batch["batch_id"])],
      chat: [String(chat["session_id"])],
      schedules: ["acme-schedule", "fresh"],
      triggers: [String(trigger["id"])],
      "webhook-endpoints": ["acme-hook", "fresh"],
      webhooks: deliveries.map(({ id }) => id),
      budgets: ["acme-budget", "fresh"],
      dlq: [`${failed.run}.${failed.seq}`],
      "api-keys": [String(apiKey["id"])],
      // Not acme: a tenant that is deleted or disabled has no more to show.
      tenants: ["spare", "fresh"],
      workers: ["w"],
      uploads: ["upload_000000000000000000000000"],
    },
    keys: [
      owner,
      owner,
      owner,
      app.platformKey,
      app.platformKey,
      await stores.key("globex"),
      await stores.key("acme", ["runs:read"]),
      null,
    ],
  };
}
