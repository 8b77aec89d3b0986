import { afterAll, beforeAll, describe, expect, test, onTestFinished, vi } from "vitest";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { deleteOfTenants } from "../../../shared/store/tenants/delete-tenants.ts";
import { markKeysUsed, revokeApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { bodyOf, startApp, type TestApp } from "../app.ts";

let app: TestApp;
let acme: string;
beforeAll(async () => {
  app = await startApp();
  acme = await app.stores.key("acme");
});
afterAll(() => app.stop());

const KEYS = "/scale/api-keys";
const Made = z.looseObject({
  id: z.string(),
  key: z.string(),
  prefix: z.string(),
  tenant_id: z.string().nullable(),
});
const Page = z.object({
  data: z.array(z.looseObject({ id: z.string() })),
  next_cursor: z.string().nullable(),
});
const create = (body: object, key = acme, prefix = KEYS) => app.call("POST", prefix, { key, body });
const made = async (answer: Promise<Response>) => {
  const response = await answer;
  expect(response.status).toBe(201);
  return Made.parse(await response.json());
};
const listOf = async (key: string, query = "") =>
  Page.parse(await (await app.call("GET", `${KEYS}?${query}`, { key })).json());
const worksWith = async (key: string) => (await app.call("GET", "/api/v2/workers", { key })).status === 200;

describe("a key that was created over HTTP", () => {
  test("is shown once, works with its scopes for its tenant, and is listed by its first characters alone", async () => {
    for (const prefix of [KEYS, "/api/scale/api-keys"]) {
      const { key, ...shown } = await made(create({ name: "CI", scopes: ["runs:read"] }, acme, prefix));
      expect(shown).toMatchObject({ tenant_id: "acme", name: "CI", scopes: ["runs:read"], status: "valid" });
      expect(key.startsWith(shown.prefix)).toBe(true);
      expect(await worksWith(key)).toBe(true);
      expect((await app.call("GET", KEYS, { key })).status).toBe(403);
      await app.settled();
      const { data } = await listOf(acme);
      const listed = { ...shown, last_used_at: expect.any(String) };
      expect(data.find(({ id }) => id === shown.id)).toEqual(listed);
      expect(JSON.stringify(data)).not.toContain(key.slice(12));
    }
  });

  test("belongs to the tenant of the key that made it; a platform key names the tenant or says platform", async () => {
    expect((await create({ name: "n", scopes: ["admin"], tenant_id: "globex" })).status).toBe(403);
    expect((await create({ name: "n", scopes: ["admin"], platform: true })).status).toBe(403);
    const platform = app.platformKey;
    for (const body of [{}, { tenant_id: "acme", platform: true }]) {
      const answer = await create({ name: "n", scopes: ["admin"], ...body }, platform);
      expect([answer.status, (await bodyOf(answer)).errors]).toMatchObject([422, [{ path: "tenant_id" }]]);
    }
    expect((await made(create({ name: "n", scopes: ["admin"], platform: true }, platform))).tenant_id).toBe(
      null,
    );
    // A tenant that is named for the first time is created.
    expect(
      (await made(create({ name: "n", scopes: ["admin"], tenant_id: "fresh" }, platform))).tenant_id,
    ).toBe("fresh");
    expect((await app.call("GET", "/scale/tenants/fresh")).status).toBe(200);
  });

  test("has only scopes of the key that makes or rotates it", async () => {
    const admin = await app.stores.key("acme", ["admin", "runs:read"]);
    expect((await create({ name: "n", scopes: ["admin", "runs:write"] }, admin)).status).toBe(403);
    const { id } = await made(create({ name: "n", scopes: ["runs:write"] }));
    expect((await app.call("POST", `${KEYS}/${id}/rotate`, { key: admin })).status).toBe(403);
    expect((await create({ name: "n", scopes: ["admin"] }, admin)).status).toBe(201);
  });

  test("is refused when it has expired, and is not made with an expiry in the past", async () => {
    const past = await create({ name: "n", scopes: ["admin"], expires_at: "2026-01-01T00:00:00Z" });
    expect([past.status, (await bodyOf(past)).errors]).toMatchObject([422, [{ path: "expires_at" }]]);
    const forever = await made(create({ name: "n", scopes: ["runs:read"], expires_at: null }));
    expect(forever).toMatchObject({ expires_at: null });
    const expires_at = new Date(Date.now() + 3_600_000).toISOString();
    const { id, key } = await made(create({ name: "n", scopes: ["runs:read"], expires_at }));
    await app.stores.sql`update api_keys set expires_at = now() where key_id = ${id}`;
    expect(await worksWith(key)).toBe(false);
    expect((await listOf(acme)).data.find((each) => each.id === id)).toMatchObject({ status: "expired" });
    // An edge that has looked the key up knows when it expires.
    const soon = await made(create({ name: "n", scopes: ["runs:read"], expires_at }));
    const expire = (seconds: number) => app.stores.sql`
      update api_keys set expires_at = now() + ${seconds} * interval '1 second' where key_id = ${soon.id}`;
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    await expire(15);
    expect(await worksWith(soon.key)).toBe(true);
    await expire(0);
    vi.setSystemTime(Date.now() + 15_000);
    // Before the cached key is looked up again, which is after 20 s.
    expect(await worksWith(soon.key)).toBe(false);
  });
});

describe("a rotation", () => {
  test("gives a key like the old one, which stays valid for the overlap", async () => {
    const expires_at = new Date(Date.now() + 86_400_000).toISOString();
    const old = await made(create({ name: "old", scopes: ["runs:read"], expires_at }));
    const path = `${KEYS}/${old.id}/rotate`;
    const fresh = await made(app.call("POST", path, { key: acme, body: { overlap_seconds: 60 } }));
    expect(fresh).toMatchObject({ name: "old", scopes: ["runs:read"], tenant_id: "acme", expires_at });
    expect([await worksWith(fresh.key), await worksWith(old.key)]).toEqual([true, true]);
    const [row] = await app.stores.sql<{ rotated_to: string; seconds: number }[]>`
      select rotated_to, extract(epoch from expires_at - now())::float8 as seconds from api_keys where key_id = ${old.id}`;
    expect(row?.rotated_to).toBe(fresh.id);
    expect(row?.seconds).toBeGreaterThan(0);
    expect(row?.seconds).toBeLessThanOrEqual(60);
  });

  // Fails when two keys are made: the caller whose response is lost would not know of one of them.
  test("of several of the same key one succeeds", async () => {
    const { id } = await made(create({ name: "n", scopes: ["runs:read"] }));
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => app.call("POST", `${KEYS}/${id}/rotate`, { key: acme })),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(4);
    const [row] = await app.stores.sql<{ n: number }[]>`
      select count(*)::int as n from api_keys where key_id in (select rotated_to from api_keys where key_id = ${id})`;
    expect(row?.n).toBe(1);
  });

  test("without an overlap ends the old key at once", async () => {
    const { id, key } = await made(create({ name: "n", scopes: ["runs:read"] }));
    await made(app.call("POST", `${KEYS}/${id}/rotate`, { key: acme, body: { overlap_seconds: 0 } }));
    expect(await worksWith(key)).toBe(false);
  });
});

test("a revoked key is refused, and stays in the list; another tenant cannot see, rotate or revoke it", async () => {
  const globex = await app.stores.key("globex");
  const { id, key } = await made(create({ name: "n", scopes: ["runs:read"] }));
  expect((await listOf(globex)).data.map((each) => each.id)).not.toContain(id);
  expect((await app.call("GET", `${KEYS}?tenant_id=acme`, { key: globex })).status).toBe(403);
  expect((await app.call("DELETE", `${KEYS}/${id}`, { key: globex })).status).toBe(404);
  expect((await app.call("POST", `${KEYS}/${id}/rotate`, { key: globex })).status).toBe(404);
  const revoke = () => app.call("DELETE", `${KEYS}/${id}`, { key: acme });
  expect(await bodyOf(await revoke())).toEqual({ status: "revoked", id });
  expect((await revoke()).status).toBe(200);
  expect(await worksWith(key)).toBe(false);
  expect((await listOf(acme)).data.find((each) => each.id === id)).toMatchObject({ status: "revoked" });
  expect((await app.call("POST", `${KEYS}/${id}/rotate`, { key: acme })).status).toBe(409);
});

// Fails when an isolate lets a key that it has cached make keys: a thief of the key would go on with a new one.
test("a key makes and rotates no key once it is revoked, also where it is cached", async () => {
  const { id, key } = await made(create({ name: "n", scopes: ["admin", "runs:read"] }));
  const other = await made(create({ name: "o", scopes: ["runs:read"] }));
  expect(await worksWith(key)).toBe(true);
  // As another edge revokes it.
  await revokeApiKey(app.stores.sql, id);
  expect(await worksWith(key)).toBe(true);
  expect((await create({ name: "later", scopes: ["runs:read"] }, key)).status).toBe(401);
  for (const rotated of [id, other.id])
    expect((await app.call("POST", `${KEYS}/${rotated}/rotate`, { key })).status).toBe(401);
  expect((await listOf(acme)).data).not.toContainEqual(expect.objectContaining({ name: "later" }));
});

test("the list has each key once, page by page", async () => {
  const key = await app.stores.key("paged");
  for (let n = 0; n < 4; n++) await made(create({ name: `${n}`, scopes: ["runs:read"] }, key));
  const ids: string[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const page: z.infer<typeof Page> = await listOf(key, `limit=2&cursor=${cursor}`);
    ids.push(...page.data.map(({ id }) => id));
    cursor = page.next_cursor;
  }
  expect(new Set(ids).size).toBe(5);
  expect(ids).toHaveLength(5);
  expect((await app.call("GET", `${KEYS}?cursor=key_1`, { key })).status).toBe(400);
});

test("the last use of a key is recorded after its response, once a minute at most", async () => {
  const { id, key } = await made(create({ name: "n", scopes: ["runs:read"] }));
  expect((await listOf(acme)).data.find((each) => each.id === id)).toMatchObject({ last_used_at: null });
  await worksWith(key);
  await app.settled();
  const used = async () =>
    (
      await app.stores.sql<
        { at: string }[]
      >`select last_used_at::text as at from api_keys where key_id = ${id}`
    )[0]?.at;
  const first = await used();
  expect(first).toBeTruthy();
  await markKeysUsed(app.stores.sql, [id]);
  expect(await used()).toBe(first);
  await app.stores.sql`update api_keys set last_used_at = now() - interval '61 seconds' where key_id = ${id}`;
  await markKeysUsed(app.stores.sql, [id]);
  expect(await used()).not.toBe(first);
});

test("a tenant that is being deleted gets no keys", async () => {
  await app.stores.key("leaving");
  expect((await app.call("POST", "/scale/tenants", { body: { tenant_id: "leaving" } })).status).toBe(201);
  expect((await app.call("DELETE", "/scale/tenants/leaving")).status).toBe(200);
  const body = { name: "n", scopes: ["admin"], tenant_id: TenantId.parse("leaving") };
  expect((await create(body, app.platformKey)).status).toBe(409);
  expect(await deleteOfTenants(app.stores.sql)).toBe(true);
  expect((await listOf(app.platformKey, "tenant_id=leaving")).data).toEqual([]);
});
