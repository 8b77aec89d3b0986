/** A tool that is asked whether a call has happened, over HTTP: the question has the tool's sealed headers, and nothing else of it. */
import { createServer } from "node:http";
import type { IncomingMessage, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MASK } from "../../../shared/contracts/definition/tool-secrets.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { masterKeys } from "../../../shared/security/master-keys.ts";
import { sealSecret } from "../../../shared/security/sealed-tool.ts";
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
        response.destroy();
        return;
      }
      const key = new URL(url, base).searchParams.get("key") ?? "";
      response.writeHead(200, { "content-type": "application/json" });
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

test("a payment whose answer was lost is found by its key, with the tool's sealed header, and not made again", async () => {
  const masterKey = masterKeys().parse(`default:${"0".repeat(64)}`);
  const sealedAs = { owner: "acme", name: "pay" };
  const stored: JsonObject = {
    sealed: {
      "headers.X-Api-Key": await sealSecret(masterKey, sealedAs, "headers.X-Api-Key", "key-of-acme"),
      "url/2": await sealSecret(masterKey, sealedAs, "url/2", "secret-part"),
    },
    ...sealedAs,
    tool_type: "http",
    method: "POST",
    url: `${base}/hooks/${MASK}`,
    headers: { "X-Api-Key": MASK },
    inputSchema: { type: "object", properties: { amount: { type: "integer" }, to: { type: "string" } } },
    reconcile: { url: `${base}/payments/{to}?key={effect_key}`, found: "answer.payments[0] ?? false" },
  };
  const tools = createTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 5_000,
    masterKey,
    mail: refusingOutbox,
    store: refusingStore,
  });
  const { evaluate } = sandbox.of({ tenant: TenantId.parse("acme"), signal: new AbortController().signal });
  const pay = { type: "tool", forced_tool: "pay", input_keys: ["amount", "to"], output_key: "out" };
  const execution = (turns: Json[]) => {
    const fake = fakeContext({ state: { amount: 5, to: "bob" }, evaluate, turns });
    return { ...fake, result: run(step(pay), { ...fake.context, tools, tool: async () => stored }) };
  };

  const before = execution([]);
  await expect(before.result).rejects.toMatchObject({ code: "unreachable" });
  const after = execution(before.committedTurns.map(({ data }) => data));
  expect(await after.result).toMatchObject({ set: { out: { id: 7 } } });
  expect(received.map(({ method, url }) => `${method} ${url}`)).toEqual([
    "POST /hooks/secret-part",
    "GET /payments/bob?key=run_1%3As%3A1%3Atool.1",
  ]);
  expect(received[1]).toMatchObject({ headers: { "x-api-key": "key-of-acme" }, body: "" });
});
