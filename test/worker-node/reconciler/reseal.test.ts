/** The rotation of the master key, with edges and workers of old and new settings side by side. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { masterKey, masterKeys } from "../../../shared/security/master-keys.ts";
import { keyIdOf, sealedPlace, unseal } from "../../../shared/security/seal.ts";
import { openTool, readStoredTool, sealedOf } from "../../../shared/security/sealed-tool.ts";
import { SECRET_FIELD } from "../../../shared/contracts/webhook.ts";
import { mailServerPlace } from "../../../shared/contracts/mail-server.ts";
import { providerKeyPlace } from "../../../shared/contracts/provider-key.ts";
import { stateStore } from "../../../shared/store/state.ts";
import { noRepairs } from "../../../worker-node/reconciler/reconciler-deps.ts";
import { Reseal } from "../../../worker-node/reconciler/reseal.ts";
import { bodyOf, startApp, startRun } from "../../edge/app.ts";
import type { TestApp } from "../../edge/app.ts";
import { MASTER_KEY } from "../../edge/test-stores.ts";

const SMTP_URL = "smtp://post:the-secret-of-a-mail-server@mail.example.com";
const API_KEY = "the-secret-of-a-provider";
const NEW = "ab".repeat(32);
const ROTATING = `2026b:${NEW},default:${MASTER_KEY}`;
const during = masterKeys().parse(ROTATING);
const after = masterKeys().parse(`2026b:${NEW}`);

let old: TestApp;
beforeAll(async () => {
  old = await startApp({ MASTER_KEYS: `default:${MASTER_KEY},2026b:${NEW}` });
});
afterAll(() => old.stop());

/** The ids of the keys of all sealed values. */
async function keysInUse(): Promise<string[]> {
  const rows = await old.stores.sql<{ text: string }[]>`
    select webhook_secret as text from runs where webhook_secret is not null
    union all select secret from webhook_deliveries where secret is not null
    union all select secret from webhook_endpoints
    union all select previous_secret from webhook_endpoints where previous_secret is not null
    union all select secret from triggers
    union all select smtp_url from mail_servers
    union all select api_key from provider_keys
    union all select value from settings where name = 'METRICS_TOKEN'`;
  const definitions = await old.stores.sql<{ definition: string }[]>`
    select definition from tools union all select definition from mcp_servers`;
  const sealed = definitions.flatMap(({ definition }) =>
    Object.values(sealedOf(readStoredTool(definition)) ?? {}),
  );
  return [...rows.map(({ text }) => text), ...sealed].map(keyIdOf);
}

async function passToEnd(reseal: Reseal): Promise<void> {
  while (await reseal.pass());
}

test("every secret comes under the key that seals now, opens with it alone, and the API shows that the old key has none left", async () => {
  const { sql } = old.stores;
  const ok = async (method: string, path: string, body: object) => {
    const answer = await old.call(method, path, { body });
    if (!answer.ok) throw new Error(`${method} ${path}: ${await answer.text()}`);
    return bodyOf(answer);
  };
  const webhook = { webhook_url: "https://hooks.example.com/", webhook_secret: "the secret of a run" };
  const run = await startRun(old, { body: webhook });
  await ok("PUT", "/api/v2/webhook-endpoints/hook", { url: "https://hooks.example.com/" });
  await ok("POST", "/api/v2/webhook-endpoints/hook/rotate", {});
  await ok("POST", "/api/v2/triggers", { orchestration_id: "orch_smoke", secret: "the secret of a trigger" });
  const tool = { name: "t", description: "d", tool_type: "http", method: "GET", url: "https://example.com/" };
  await ok("PUT", "/api/v2/tools/t", { ...tool, headers: { Authorization: "Bearer the-secret-of-a-tool" } });
  await ok("PUT", "/api/v2/mcp-servers/m", {
    url: "https://example.com/mcp",
    headers: { Authorization: "Bearer x" },
  });
  await ok("PUT", "/scale/tenants/acme/smtp", { smtp_url: SMTP_URL, smtp_from: "post@acme.example" });
  await ok("PUT", "/api/v2/provider-keys/openai?tenant_id=acme", { api_key: API_KEY });
  const settings = { METRICS_TOKEN: "the-secret-of-the-scrapers", SCALE_MODE: true };
  expect((await old.call("PATCH", "/scale/config", { body: settings })).status).toBe(200);
  // A delivery of the run, one of the endpoint, and one of a question of the run's child, as their entries copy them.
  await sql`
    insert into webhook_deliveries (delivery_id, run_id, root_run_id, seq, tenant_id, orchestration_id, type, endpoint_id, url, secret,
      status, tokens, cost_micro_usd)
    select 'd1', run_id, null, 1, tenant_id, orchestration_id, 'run.completed', null, webhook_url, webhook_secret, 'completed', 0, 0
    from runs where run_id = ${run}
    union all select 'd2', ${run}, null, 1, tenant_id, 'o', 'run.completed', endpoint_id, url, secret, 'completed', 0, 0
    from webhook_endpoints
    union all select 'd3', 'run_000000000000_1780499750067', run_id, 1, tenant_id, 'o', 'run.waiting', null, webhook_url, webhook_secret,
      'paused', 0, 0
    from runs where run_id = ${run}`;
  expect(await keysInUse()).toEqual(Array.from({ length: 12 }, () => "default"));

  const repairs = noRepairs();
  const reseal = new Reseal({ store: stateStore(sql), repairs, masterKeys: during });
  await passToEnd(reseal);
  expect(await keysInUse()).toEqual(Array.from({ length: 12 }, () => "2026b"));
  expect(repairs.resealed).toBe(12);
  // The old edge still has its settings: it opens what was sealed anew, and seals under the old key.
  const second = await startRun(old, { body: webhook });
  expect(new Set(await keysInUse())).toEqual(new Set(["2026b", "default"]));
  await passToEnd(reseal);
  const [row] = await sql<
    { secret: string }[]
  >`select webhook_secret as secret from runs where run_id = ${second}`;
  expect(await unseal(after, row?.secret ?? "", sealedPlace(second, SECRET_FIELD))).toBe(
    webhook.webhook_secret,
  );
  const [server] = await sql<{ smtp_url: string }[]>`select smtp_url from mail_servers`;
  expect(await unseal(after, server?.smtp_url ?? "", mailServerPlace("acme"))).toBe(SMTP_URL);
  const [providerKey] = await sql<{ api_key: string }[]>`select api_key from provider_keys`;
  expect(await unseal(after, providerKey?.api_key ?? "", providerKeyPlace("acme", "openai"))).toBe(API_KEY);
  const [stored] = await sql<
    { definition: string; owner: string }[]
  >`select definition, tenant_id as owner from tools`;
  const opened = await openTool(
    after,
    { owner: stored?.owner ?? "", name: "t" },
    readStoredTool(stored?.definition ?? ""),
  );
  expect(opened).toMatchObject({ headers: { Authorization: "Bearer the-secret-of-a-tool" } });

  const shown = z.object({ keys: z.array(z.looseObject({ id: z.string() })), look_ended_at: z.string() });
  const { keys } = shown.parse(await bodyOf(await old.call("GET", "/scale/master-keys")));
  expect(keys).toEqual([
    { id: "default", known: true, seals: true, values: 0, unreadable: 0 },
    { id: "2026b", known: true, seals: false, values: 13, unreadable: 0 },
  ]);
});

test("a value that no key opens stays as it is and is counted, and a worker with MASTER_KEY alone changes nothing", async () => {
  const { sql } = old.stores;
  const otherKeys = masterKeys().parse(`gone:${"cd".repeat(32)}`);
  const [before] = await sql`select secret from triggers`;
  await passToEnd(new Reseal({ store: stateStore(sql), repairs: noRepairs(), masterKeys: otherKeys }));
  const [uses] = await sql`select key_id, unreadable::int as unreadable from master_key_uses`;
  expect(uses).toEqual({ key_id: "2026b", unreadable: 13 });
  expect(masterKey().parse(MASTER_KEY).writer).toBe("default");
  const idle = new Reseal({ store: stateStore(sql), repairs: noRepairs() });
  expect(await idle.pass()).toBe(false);
  expect(await sql`select secret from triggers`).toEqual([before]);
});
