/** The rotation of the master key in the steps of docs/operations.md, on a system whose runs need every kind of secret in each step. */
import { createServer } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { bodyOf, runPath } from "../edge/app.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { ProviderServer, text } from "../worker-node/models/provider-server.ts";
import { until } from "../services/waiting.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

const OLD = `default:${MASTER_KEY}`;
const NEW = `k2:${"5e".repeat(32)}`;
const EGRESS = { EGRESS_ALLOW: "127.0.0.1,localhost" };
const RUN_SECRET = "the secret of a run";

type Received = { headers: Record<string, string>; body: string };
const received = { tool: new Array<Received>(), hook: new Array<Received>(), run: new Array<Received>() };
const server = createServer((request, response) => {
  void textOf(request).then((body) => {
    const [, kind] = /^\/(tool|hook|run)/.exec(request.url ?? "") ?? [];
    if (kind === "tool" || kind === "hook" || kind === "run")
      received[kind].push({ headers: flat(request.headers), body });
    response.setHeader("content-type", "application/json").end(`{"ok":true}`);
  });
});
const provider = new ProviderServer();
let api: FlowApi;
let base = "";
let endpointSecret = "";

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

async function send(method: string, path: string, body: object): Promise<Record<string, unknown>> {
  const answer = await api.call(method, path, { body });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return bodyOf(answer);
}

/** Saves a tool whose calls need a sealed header. */
async function saveTool(name: string): Promise<void> {
  await send("PUT", `/api/v2/tools/${name}`, {
    tool_type: "http",
    description: "Needs a header",
    method: "POST",
    url: `${base}/tool`,
    headers: { authorization: `Bearer secret-of-${name}` },
    inputSchema: { type: "object", properties: {} },
  });
}

/** Saves the secrets that are sealed under the old key and never saved again. */
async function saveSecrets(): Promise<void> {
  await saveTool("guarded");
  const connection = new URL(api.stores.postgresUrl);
  connection.search = "";
  await send("PUT", "/api/v2/tools/facts", {
    tool_type: "sql",
    description: "Facts",
    connection: connection.href,
  });
  const key = { api_key: "sk-tenant", base_url: `${provider.url}/v1` };
  await send("PUT", "/api/v2/provider-keys/openai-compatible?tenant_id=default", key);
  const endpoint = { url: `${base}/hook`, events: ["run.completed"] };
  const saved = await send("PUT", "/api/v2/webhook-endpoints/mine?tenant_id=default", endpoint);
  endpointSecret = z.string().parse(saved["secret"]);
}

beforeAll(async () => {
  await provider.start();
  provider.reset((response) =>
    response.writeHead(200, { "content-type": "text/event-stream" }).end(text("fine")),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port }: AddressInfo = z.custom<AddressInfo>().parse(server.address());
  base = `http://127.0.0.1:${port}`;
  api = await startApi(undefined, { MASTER_KEY });
  await saveSecrets();
  await saveTool("fresh");
  await api.define("orchestrations", "needs_secrets", {
    name: "Needs secrets",
    entry_step_id: "tool",
    state_schema: { sql: { type: "string", default: "select 6 * 7 as answer" } },
    steps: [
      { id: "tool", type: "tool", forced_tool: "guarded", output_key: "tool", next_step_id: "fresh" },
      { id: "fresh", type: "tool", forced_tool: "fresh", output_key: "fresh", next_step_id: "sql" },
      {
        id: "sql",
        type: "tool",
        forced_tool: "facts",
        input_keys: ["sql"],
        output_key: "rows",
        next_step_id: "llm",
      },
      {
        id: "llm",
        type: "llm",
        model: "openai-compatible/m1",
        prompt_template: "go",
        output_key: "text",
        retry: { attempts: 1 },
      },
    ],
  });
});
afterAll(async () => {
  await api.stop();
  provider.stop();
  server.closeAllConnections();
  server.close();
});

/** Executes a run that needs every secret, and checks that each one was used and each signature is right. */
async function runs(): Promise<void> {
  const before = provider.requests.length;
  const run = await api.start("needs_secrets", {
    webhook_url: `${base}/run`,
    webhook_secret: RUN_SECRET,
  });
  expect(await untilEnd(api, run), await (await api.call("GET", runPath(run, "result"))).text()).toBe(
    "completed",
  );
  expect(received.tool.splice(0).map(({ headers }) => headers["authorization"])).toEqual([
    "Bearer secret-of-guarded",
    "Bearer secret-of-fresh",
  ]);
  expect(provider.requests.slice(before).map(({ headers }) => headers["authorization"])).toContain(
    "Bearer sk-tenant",
  );
  await until(`the webhooks of ${run} are delivered`, () =>
    [received.hook, received.run].every((requests) => requests.some(({ body }) => body.includes(run))),
  );
  const of = (requests: Received[]) => requests.filter(({ body }) => body.includes(run));
  for (const { body, headers } of of(received.hook)) new Webhook(endpointSecret).verify(body, headers);
  const own = new Webhook(new TextEncoder().encode(RUN_SECRET), { format: "raw" });
  for (const { body, headers } of of(received.run)) own.verify(body, headers);
}

const Keys = z.object({
  keys: z.array(z.object({ id: z.string(), values: z.number(), unreadable: z.number(), seals: z.boolean() })),
  look_began_at: z.string().nullable(),
});
const masterKeys = async () => Keys.parse(await bodyOf(await api.call("GET", "/scale/master-keys")));

// Fails when a process cannot open a value that a process of the next step has sealed, or when a value stays under the old key.
test("the master key changes in three steps while runs go on: no run fails, no signature is wrong, and the old key is not needed after them", async () => {
  let old = await api.startWorker("w0", EGRESS);
  await runs();

  const steps = [`${OLD},${NEW}`, `${NEW},${OLD}`, NEW];
  let stepEnded = Date.now();
  for (const [n, keys] of steps.entries()) {
    if (n === 2) {
      await until("a look that began after the second step finds no value of the old key", async () => {
        const { keys: uses, look_began_at } = await masterKeys();
        const isLater = look_began_at !== null && Date.parse(look_began_at) > stepEnded;
        return (
          isLater && uses.every(({ id, values, unreadable }) => id === "k2" || values + unreadable === 0)
        );
      });
    }
    // The edge has the keys of this step, and the worker still those of the step before.
    api.redeploy({ ...EGRESS, MASTER_KEYS: keys });
    await saveTool("fresh");
    await runs();
    // A worker with the keys of this step joins, and then the older one ends.
    const next = await api.startWorker(`w${n + 1}`, { ...EGRESS, MASTER_KEY: "", MASTER_KEYS: keys });
    await runs();
    stepEnded = Date.now();
    expect(await old.stop("SIGTERM")).toBe(0);
    old = next;
    await runs();
  }
  expect((await masterKeys()).keys).toEqual([
    { id: "k2", values: expect.any(Number), unreadable: 0, seals: true },
  ]);
});
