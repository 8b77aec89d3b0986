/** A tool that is asked whether a call has happened, over HTTP: the question has the tool's sealed headers, and nothing else of it. */
import { createServer } from "node:http";
import type { IncomingMessage, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { MASK } from "../../../shared/contracts/definition/tool-secrets.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { masterKeys } from "../../../shared/security/master-keys.ts";
import type { MasterKeys } from "../../../shared/security/master-keys.ts";
import { sealSecret } from "../../../shared/security/sealed-tool.ts";
import type { Tools } from "../../../worker-node/engine/ports.ts";
import { createSandbox } from "../../../worker-node/engine/sandbox.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import { fakeContext, run, step } from "../engine/context.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { refusingOutbox, refusingStore } from "../fakes.ts";

let server: Server;
let base: string;
const received: { method: string; url: string; headers: IncomingMessage["headers"]; body: string }[] = [];
const paid = new Map<string, string>();
let questionStatus: number;
/** The status of the answer to a payment; null: it is lost. */
let paymentStatus: number | null;

/** A bank that loses its answer to a payment that it has made. */
beforeAll(async () => {
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      received.push({ method, url, headers, body });
      if (method === "POST") {
        paid.set(String(headers["idempotency-key"]), body);
        if (paymentStatus === null) response.destroy();
        else response.writeHead(paymentStatus).end();
        return;
      }
      const key = new URL(url, base).searchParams.get("key") ?? "";
      response.writeHead(questionStatus, { "content-type": "application/json" });
      response.end(JSON.stringify({ payments: paid.has(key) ? [{ id: 7 }] : [] }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  base = `http://127.0.0.1:${address.port}`;
});
const sandbox = createSandbox();
afterAll(async () => {
  server.close();
  await sandbox.close();
});

beforeEach(() => {
  received.length = 0;
  questionStatus = 200;
  paymentStatus = null;
});

const openTools = (masterKey: MasterKeys | null = null) =>
  createTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey,
    mail: refusingOutbox,
    store: refusingStore,
  });
const payTool = (): JsonObject => ({
  name: "pay",
  owner: "acme",
  tool_type: "http",
  method: "POST",
  url: `${base}/hooks`,
  inputSchema: { type: "object", properties: { amount: { type: "integer" }, to: { type: "string" } } },
  reconcile: { url: `${base}/payments/{to}?key={effect_key}`, found: "answer.payments[0] ?? false" },
});
const pay = { type: "tool", forced_tool: "pay", input_keys: ["amount", "to"], output_key: "out" };

function execution(stored: JsonObject, tools: Tools, turns: Json[] = []) {
  const { evaluate } = sandbox.of({ tenant: TenantId.parse("acme"), signal: new AbortController().signal });
  const fake = fakeContext({ state: { amount: 5, to: "bob" }, evaluate, turns });
  return { ...fake, result: run(step(pay), { ...fake.context, tools, tool: async () => stored }) };
}

test("a payment whose answer was lost is found by its key, with the tool's sealed header, and not made again", async () => {
  const masterKey = masterKeys().parse(`default:${"0".repeat(64)}`);
  const sealedAs = { owner: "acme", name: "pay" };
  const stored: JsonObject = {
    ...payTool(),
    sealed: {
      "headers.X-Api-Key": await sealSecret(masterKey, sealedAs, "headers.X-Api-Key", "key-of-acme"),
      "url/2": await sealSecret(masterKey, sealedAs, "url/2", "secret-part"),
    },
    url: `${base}/hooks/${MASK}`,
    headers: { "X-Api-Key": MASK },
  };
  const tools = openTools(masterKey);
  const before = execution(stored, tools);
  await expect(before.result).rejects.toMatchObject({ code: "unreachable" });
  const after = execution(
    stored,
    tools,
    before.committedTurns.map(({ data }) => data),
  );
  expect(await after.result).toMatchObject({ set: { out: { id: 7 } } });
  expect(received.map(({ method, url }) => `${method} ${url}`)).toEqual([
    "POST /hooks/secret-part",
    "GET /payments/bob?key=run_1%3As%3A1%3Atool.1",
  ]);
  expect(received[1]).toMatchObject({ headers: { "x-api-key": "key-of-acme" }, body: "" });
});

// Fails when such a payment uses a connection that was kept: it would be sent again without a question when the bank closes it.
test("a payment is sent once, also after a request that leaves its connection open", async () => {
  const tools = openTools();
  const before = execution({ ...payTool(), method: "GET", reconcile: null }, tools);
  await before.result;
  await expect(execution(payTool(), tools).result).rejects.toMatchObject({ code: "unreachable" });
  expect(received.map(({ method }) => method)).toEqual(["GET", "POST"]);
});

// Fails when one failure of the question ends the run, although the question may be asked again.
test("a question that fails is asked again, also of a tool that is not retry_safe", async () => {
  const tools = openTools();
  const stored = { ...payTool(), retry_safe: false };
  const before = execution(stored, tools);
  await expect(before.result).rejects.toMatchObject({ code: "unreachable" });
  questionStatus = 500;
  const turns = before.committedTurns.map(({ data }) => data);
  await expect(execution(stored, tools, turns).result).rejects.toMatchObject({
    name: "RetryableError",
    code: "tool_unavailable",
    answered: false,
  });
  questionStatus = 200;
  expect(await execution(stored, tools, turns).result).toMatchObject({ set: { out: { id: 7 } } });
});

// Fails when a try after such an answer has another key, under which no call was begun: it would be another payment.
test.each([500, 503, 504])(
  "a payment that is answered with HTTP %i is asked for under its key",
  async (status) => {
    const tools = openTools();
    paymentStatus = status;
    const before = execution(payTool(), tools);
    await expect(before.result).rejects.toMatchObject({ code: "tool_unavailable", answered: false });
    const turns = before.committedTurns.map(({ data }) => data);
    expect(await execution(payTool(), tools, turns).result).toMatchObject({ set: { out: { id: 7 } } });
  },
);

test("a payment that is refused for now is another call at the next try", async () => {
  paymentStatus = 429;
  const refused = execution(payTool(), openTools()).result;
  await expect(refused).rejects.toMatchObject({ code: "tool_unavailable", answered: true });
});
