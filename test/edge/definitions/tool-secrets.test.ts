import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { doPeriodicWork } from "../../../edge/operations/periodic-work.ts";
import { sealTools } from "../../../edge/operations/seal-tools.ts";
import { maskTool, textToStore } from "../../../edge/definitions/masked-tool.ts";
import { SHARED } from "../../../shared/contracts/tenant.ts";
import { masterKey, masterKeys } from "../../../shared/security/master-keys.ts";
import { keyIdOf } from "../../../shared/security/seal.ts";
import { openTool, readStoredTool, sealedOf } from "../../../shared/security/sealed-tool.ts";
import { emptyDeleted } from "../../../shared/store/definitions/empty-deleted.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { bodyOf, errorsOf, startApp } from "../app.ts";
import type { TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";

const key = masterKey().parse(MASTER_KEY);
const MASK = "********";
let app: TestApp;

beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
});
afterAll(() => app.stop());

const tool = (fields: object = {}) => ({
  tool_type: "http",
  description: "d",
  url: "https://api.example.com/bot/123456:AAbbCCddEEffGGhhII/{q}?api_key=query-secret&page=2",
  headers: { Authorization: "Bearer top-secret", "X-Other": "second-secret", Accept: "text/plain" },
  ...fields,
});
const MASKED_URL = `https://api.example.com/bot/${MASK}/{q}?api_key=${MASK}&page=2`;
const put = (name: string, body: object, withKey?: string) =>
  app.call("PUT", `/api/v2/tools/${name}`, { body, ...(withKey !== undefined && { key: withKey }) });
async function shownOf(name: string): Promise<Record<string, unknown>> {
  const {
    version: _version,
    id: _id,
    ...shown
  } = await bodyOf(await app.call("GET", `/api/v2/tools/${name}`));
  return shown;
}
async function textOf(name: string, owner = ""): Promise<string> {
  const [row] = await app.stores.sql<{ definition: string }[]>`
    select definition from tools where id = ${name} and tenant_id = ${owner}`;
  return row?.definition ?? "";
}
async function openedOf(name: string, owner = "") {
  const stored = z.record(z.string(), z.unknown()).parse(JSON.parse(await textOf(name, owner)));
  return openTool(key, { owner, name }, stored);
}

describe("the secrets of a tool", () => {
  // Fails when a header or a part of the URL is stored or shown as it was sent.
  test("are sealed where they are stored, and masked where they are shown", async () => {
    expect((await put("sealed", tool())).status).toBe(200);
    expect(await shownOf("sealed")).toMatchObject({
      url: MASKED_URL,
      headers: { Authorization: MASK, "X-Other": MASK, Accept: "text/plain" },
    });
    expect(await shownOf("sealed")).not.toHaveProperty("sealed");
    expect(await textOf("sealed")).not.toMatch(/secret|AAbbCC/);
    expect(await openedOf("sealed")).toMatchObject(tool());
  });

  // Fails when a save with masks writes the secrets back that it has read: the secret of the other save would be lost.
  test("are those of another save that comes between the read and the write of a save with masks", async () => {
    const { sql } = app.stores;
    const headers = { Authorization: "Bearer new-secret", "X-Other": "second-secret", Accept: "text/plain" };
    await put("between", tool({ headers }));
    const text = await textOf("between");
    await put("between", tool());
    const masked = { ...(await shownOf("between")), description: "changed" };
    let saving: Promise<Response> | undefined;
    await sql.begin(async (tx) => {
      await tx`update tools set definition = ${text}, version = version + 1 where id = 'between'`;
      saving = put("between", masked);
      await untilLockWait(sql);
    });
    expect(await saving?.then(bodyOf)).toMatchObject({ version: 4 });
    expect(await openedOf("between")).toMatchObject(tool({ headers, description: "changed" }));
  });

  // Fails when a save with masks brings back a tool that another request has deleted since the read, with its secrets.
  test("stay deleted when a delete comes between the read and the write of a save with masks", async () => {
    const { sql } = app.stores;
    await put("deleted", tool());
    const masked = await shownOf("deleted");
    let both: Promise<[Response, Response]> | undefined;
    await sql.begin(async (tx) => {
      await tx`select from tools where id = 'deleted' for update`;
      const deleting = app.call("DELETE", "/api/v2/tools/deleted");
      await untilLockWait(sql);
      both = Promise.all([deleting, put("deleted", masked)]);
      await untilLockWait(sql, 2);
    });
    expect((await both)?.map(({ status }) => status)).toEqual([204, 422]);
    expect((await app.call("GET", "/api/v2/tools/deleted")).status).toBe(404);
  });

  test("of type sql are its whole connection URL, which a mask keeps", async () => {
    const connection = "postgres://reader:top-secret@db.example.com:5432/shop?sslmode=verify-full";
    const sql = { tool_type: "sql", description: "The shop's orders", connection };
    expect((await put("orders", sql)).status).toBe(200);
    expect(await shownOf("orders")).toMatchObject({ tool_type: "sql", connection: MASK });
    expect(await textOf("orders")).not.toMatch(/secret|reader|example/);
    const changed = { ...(await shownOf("orders")), description: "changed" };
    expect((await put("orders", changed)).status).toBe(200);
    expect(await openedOf("orders")).toMatchObject({ ...sql, description: "changed" });
    expect((await put("new_orders", { ...sql, connection: MASK })).status).toBe(422);
  });

  // The parser leaves a host of a postgres URL as it is written: 2130706433 is 127.0.0.1.
  test.each(["10.0.0.1:5432", "[::1]", "2130706433"])(
    "of type sql get a warning when workers refuse to call the address %s",
    async (host) => {
      const connection = `postgres://u:p@${host}/d`;
      const answer = await put("inner", { tool_type: "sql", description: "Inner", connection });
      const message = "is not a public address, and EGRESS_ALLOW does not name it: workers do not call it";
      expect(await bodyOf(answer)).toMatchObject({ warnings: [{ path: "connection", message }] });
    },
  );

  // Fails when the error quotes the connection, or a parameter that is ignored is accepted.
  test.each(["mysql://u:sesame@h/db", "postgres://h/sesame", "postgres://u:sesame@h/db?options=x", "sesame"])(
    "of type sql that are no connection URL are refused with an error that does not quote them: %s",
    async (connection) => {
      const answer = await put("wrong", { tool_type: "sql", connection });
      const text = JSON.stringify(await bodyOf(answer));
      expect([answer.status, text]).toEqual([422, expect.stringContaining('"path":"connection"')]);
      expect(text).not.toContain("sesame");
    },
  );

  // Fails when a mask is stored as the value, or when a changed value is not.
  test("stay as they are when the tool is read, changed and sent back", async () => {
    await put("kept", tool());
    const shown = await shownOf("kept");
    const headers = { ...Object(shown["headers"]), "X-Other": "third-value" };
    expect((await put("kept", { ...shown, description: "changed", headers })).status).toBe(200);
    expect(await openedOf("kept")).toMatchObject({
      ...tool(),
      description: "changed",
      headers: { ...tool().headers, "X-Other": "third-value" },
    });
  });

  // Fails when a save that has read a tool before the rotation puts a value of the old key back after the last look: with the old key it would be lost.
  test("that masks keep come under the master key that seals", async () => {
    await put("rotated", tool());
    const rotation = masterKeys().parse(`next:${"cd".repeat(32)},default:${MASTER_KEY}`);
    const stored = readStoredTool(await textOf("rotated"));
    const sealedAs = { owner: SHARED, name: "rotated" } as const;
    const saved = readStoredTool(await textToStore(maskTool(stored), sealedAs, stored, rotation));
    const values = Object.values(sealedOf(saved) ?? {});
    expect(values.map(keyIdOf)).toEqual(["next", "next", "next", "next"]);
    expect(await openTool(rotation, sealedAs, saved)).toMatchObject(tool());
  });

  // Fails when a mask is kept for any URL: a key that may save tools, and does not know the secret, would have it sent to itself.
  test("are not kept for another server, another owner or another name", async () => {
    await put("moved", tool());
    const shown = await shownOf("moved");
    const away = await put("moved", {
      ...shown,
      url: MASKED_URL.replace("api.example.com", "evil.example.net"),
    });
    expect(away.status).toBe(422);
    expect((await errorsOf(away)).map(({ path }) => path).toSorted()).toEqual([
      "headers.Authorization",
      "headers.X-Other",
      "url/2",
      "url?api_key",
    ]);
    const acme = await app.stores.key("acme");
    expect((await put("moved", shown, acme)).status).toBe(422);
    expect((await put("renamed", { ...shown, name: "renamed" })).status).toBe(422);
    const stored = z.record(z.string(), z.unknown()).parse(JSON.parse(await textOf("moved")));
    await expect(openTool(key, { owner: "acme", name: "moved" }, stored)).rejects.toThrow(
      "sealed under another",
    );
  });

  test("are all values of headers but those named in public_headers", async () => {
    await put("public", tool({ public_headers: ["x-OTHER"], url: "https://example.com/" }));
    expect((await shownOf("public"))["headers"]).toEqual({
      Authorization: MASK,
      "X-Other": "second-secret",
      Accept: "text/plain",
    });
    // A value that is sealed stays hidden when its header is declared public: the author of this save may not know it.
    await put("unmarked", tool({ url: "https://example.com/" }));
    const marked = await put("unmarked", { ...(await shownOf("unmarked")), public_headers: ["X-Other"] });
    expect(await errorsOf(marked)).toMatchObject([{ path: "headers.X-Other" }]);
  });

  test("of a tool that was stored unsealed are not shown, and its next save seals them", async () => {
    const old = { name: "old", ...tool(), generalName: null, inputSchema: {}, outputSchema: null };
    const save = (id: string) => app.stores.sql`
      insert into tools (tenant_id, id, name, definition, version) values ('', ${id}, ${id}, ${JSON.stringify({ ...old, name: id })}, 1)`;
    await Promise.all([save("old"), save("older")]);
    const shown = await shownOf("old");
    expect(shown).toMatchObject({ url: MASKED_URL, headers: { Authorization: MASK } });
    expect((await put("old", shown)).status).toBe(200);
    expect(await openedOf("old")).toMatchObject(tool());
    expect(await textOf("old")).not.toMatch(/secret/);
    // The edge's cron seals the tools that nothing saves.
    await sealTools(app.stores.sql, key);
    expect(await openedOf("older")).toMatchObject(tool());
    expect(await textOf("older")).not.toMatch(/secret/);
  });

  // Fails when the parts of the periodic work depend on each other: a bucket that is away for days would keep secrets in plain text.
  test("are sealed by a tick of the cron of which another part fails, and the tick says so", async () => {
    const { sql, vars, postgresUrl } = app.stores;
    await put("plain", tool());
    await sql`update tools set definition = ${JSON.stringify(tool())} where id = 'plain'`;
    await sql`alter table idempotency_keys rename to idempotency_keys_away`;
    const env = { ...vars, MASTER_KEY, HYPERDRIVE: { connectionString: postgresUrl } };
    await expect(doPeriodicWork(env)).rejects.toThrow("delete_idempotency_keys");
    await sql`alter table idempotency_keys_away rename to idempotency_keys`;
    expect(await textOf("plain")).not.toMatch(/secret/);
  });

  test("are refused with their names where there is no MASTER_KEY; a tool without a secret is saved", async () => {
    const without = await startApp();
    try {
      const refused = await without.call("PUT", "/api/v2/tools/t", { body: tool() });
      expect(refused.status).toBe(422);
      const errors = await errorsOf(refused);
      expect(errors.map(({ path }) => path)).toContain("headers.Authorization");
      expect(JSON.stringify(errors)).toContain("MASTER_KEY");
      expect(JSON.stringify(errors)).not.toContain("top-secret");
      const body = tool({ headers: { Accept: "text/plain" }, url: "https://example.com/{q}?page=2" });
      expect((await without.call("PUT", "/api/v2/tools/t", { body })).status).toBe(200);
    } finally {
      await without.stop();
    }
  });
});

// Fails when the cron gives the text of a tool that retention has emptied another form: both would write it again and again.
test("a tool that was deleted 30 days ago keeps its empty text", async () => {
  await put("gone", tool());
  await app.stores.sql`update tools set deleted_at = now() - interval '31 days' where id = 'gone'`;
  await emptyDeleted(app.stores.sql);
  await sealTools(app.stores.sql, key);
  expect(await textOf("gone")).toBe("{}");
});
