import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { readConfig } from "../../../edge/env.ts";
import { bucketsToPurge, deleteObjectsOfTenants } from "../../../edge/operations/delete-objects.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { pgArray } from "../../../shared/store/sql.ts";
import { deleteOfTenants } from "../../../shared/store/tenants/delete-tenants.ts";
import { readUsage } from "../../../shared/store/tenants/usage.ts";
import { bodyOf, RUN, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker, failRun } from "../fake-workers.ts";
import { MASTER_KEY } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
});
afterAll(() => app.stop());

const T = "/scale/tenants";
const save = (body: object) => app.call("POST", T, { body });
const read = async (id: string) => bodyOf(await app.call("GET", `${T}/${id}`));

describe("a tenant that is disabled", () => {
  test("starts no runs until it is enabled again, with the limits that it had or that were changed meanwhile", async () => {
    await save({ tenant_id: "paused", max_concurrent_runs: 7, max_queued_runs: 9 });
    const key = await app.stores.key("paused");
    const first = await startRun(app, { key });
    const off = await app.call("PATCH", `${T}/paused`, { body: { disabled: true } });
    expect(await bodyOf(off)).toMatchObject({ disabled: true, max_concurrent_runs: 7, max_queued_runs: 9 });
    const refused = await app.call("POST", RUN, { key, body: {} });
    expect([refused.status, (await bodyOf(refused)).code]).toEqual([429, "tenant_disabled"]);
    // The runs of a disabled tenant can be read, and `…/why` names the disabled tenant.
    expect((await app.call("GET", runPath(first, "status"), { key })).status).toBe(200);
    expect((await bodyOf(await app.call("GET", runPath(first, "why"), { key }))).sentence).toBe(
      "Tenant paused is disabled: its queued runs start when it is enabled again.",
    );
    await app.call("PATCH", `${T}/paused`, { body: { max_queued_runs: 3 } });
    expect((await app.call("POST", RUN, { key, body: {} })).status).toBe(429);
    await app.call("PATCH", `/api/scale/tenants/paused`, { body: { disabled: false } });
    expect(await read("paused")).toMatchObject({
      disabled: false,
      max_concurrent_runs: 7,
      max_queued_runs: 3,
    });
    expect((await app.call("POST", RUN, { key, body: {} })).status).toBe(202);
  });

  test("starts no runs while Redis is away either", async () => {
    await save({ tenant_id: "off", disabled: true });
    const key = await app.stores.key("off");
    await app.stores.withoutRedis(async () => {
      expect((await app.call("POST", RUN, { key, body: {} })).status).toBe(429);
    });
  });
});

test("a tenant's key reads its own tenant and no other, and changes none", async () => {
  await save({ tenant_id: "mine", name: "Mine" });
  await save({ tenant_id: "theirs" });
  const key = await app.stores.key("mine");
  expect(await bodyOf(await app.call("GET", `${T}/mine`, { key }))).toMatchObject({
    name: "Mine",
    deleting: false,
  });
  for (const path of [`${T}/theirs`, `${T}/theirs/usage`, `${T}/nowhere`]) {
    expect([path, (await app.call("GET", path, { key })).status]).toEqual([path, 404]);
  }
  expect((await app.call("PATCH", `${T}/mine`, { key, body: { weight: 9 } })).status).toBe(403);
  expect((await app.call("DELETE", `${T}/mine`, { key })).status).toBe(403);
  expect((await app.call("PATCH", `${T}/nowhere`, { body: { weight: 9 } })).status).toBe(404);
  expect((await app.call("DELETE", `${T}/nowhere`)).status).toBe(404);
});

// Fails when null, an empty text or a list becomes the number 0: then the tenant may store nothing.
test.each([null, "", "5", true, [7]])(
  "a limit of bytes that is %j is refused, and the earlier limit stays",
  async (bytes) => {
    await save({ tenant_id: "bytes", max_artifact_bytes: 500, max_total_artifact_bytes: 600 });
    for (const name of ["max_artifact_bytes", "max_total_artifact_bytes"]) {
      for (const [method, path] of [
        ["PATCH", `${T}/bytes`],
        ["POST", T],
      ] as const) {
        const body = { [name]: bytes, ...(method === "POST" && { tenant_id: "bytes" }) };
        const answer = await app.call(method, path, { body });
        const errors = [{ path: name, message: "must be a number" }];
        expect([answer.status, (await bodyOf(answer)).errors]).toEqual([422, errors]);
      }
    }
    expect(await read("bytes")).toMatchObject({ max_artifact_bytes: 500, max_total_artifact_bytes: 600 });
  },
);

const CALL = { provider: "openai", input_tokens: 10, output_tokens: 5, cost_micro_usd: 1_500 };

describe("usage", () => {
  // Fails when a call that a cancel cut off counts in the run and not here.
  test("has each day and model, and its sum is that of the runs, wasted calls included", async () => {
    const key = await app.stores.key("spender");
    await save({ tenant_id: "spender" });
    const days = ["2026-01-05T23:59:59.9Z", "2026-01-06T00:00:00Z"];
    for (const [n, at] of days.entries()) {
      const worker = await FakeWorker.claim(app.stores.sql, await startRun(app, { key }));
      await worker.write({
        kind: "step",
        usage: [
          { ...CALL, call: "a", model: "one" },
          { ...CALL, call: "b", model: `m${n}`, wasted: true },
        ],
      });
      await app.stores.sql`update usage set at = ${at} where run_id = ${worker.run}`;
    }
    const path = `${T}/spender/usage?from=2026-01-05&to=2026-01-06`;
    const oneCall = { calls: 1, input_tokens: 10, output_tokens: 5, cost_usd: 0.0015 };
    expect(await bodyOf(await app.call("GET", path, { key }))).toEqual({
      tenant_id: "spender",
      from: "2026-01-05",
      to: "2026-01-06",
      days: [
        { day: "2026-01-05", model: "openai/m0", ...oneCall },
        { day: "2026-01-05", model: "openai/one", ...oneCall },
        { day: "2026-01-06", model: "openai/m1", ...oneCall },
        { day: "2026-01-06", model: "openai/one", ...oneCall },
      ],
      total_tokens: 60,
      total_cost_usd: 0.006,
      artifact_bytes: 0,
    });
    const [runs] = await app.stores.sql`
      select sum(tokens)::int as tokens, sum(cost_micro_usd)::int as cost from runs where tenant_id = 'spender'`;
    expect(runs).toEqual({ tokens: 60, cost: 6_000 });
  });

  // Fails when the row with which a parent has the use of a child counts beside the calls of the child.
  test("counts the calls of a child once", async () => {
    const key = await app.stores.key("family");
    const [child, parent] = [await startRun(app, { key }), await startRun(app, { key })];
    for (const [run, provider] of [
      [child, "openai"],
      [parent, "child_run"],
    ] as const) {
      const worker = await FakeWorker.claim(app.stores.sql, run);
      await worker.write({ kind: "step", usage: [{ ...CALL, provider, call: "a", model: "one" }] });
    }
    const today = new Date().toISOString().slice(0, 10);
    expect(await readUsage(app.stores.sql, TenantId.parse("family"), today, today)).toMatchObject([
      { provider: "openai", calls: 1, cost_micro_usd: 1_500 },
    ]);
  });

  // Workers of the version before write charges during a deployment.
  test("counts the charges of workers that do not write the tenant", async () => {
    const run = await startRun(app, { key: await app.stores.key("older") });
    await app.stores.sql`
      insert into usage (run_id, seq, call, provider, model, input_tokens, output_tokens, cost_micro_usd)
      values (${run}, 1, 'a', 'p', 'm', 1, 2, 3)`;
    const today = new Date().toISOString().slice(0, 10);
    expect(await readUsage(app.stores.sql, TenantId.parse("older"), today, today)).toMatchObject([
      { cost_micro_usd: 3 },
    ]);
  });

  test.each(["from=2026-01-02&to=2026-01-01", "from=2026-01-01&to=2026-02-01", "from=today"])(
    "of %s is not valid",
    async (query) => {
      await save({ tenant_id: "spender" });
      const answer = await app.call("GET", `${T}/spender/usage?${query}`);
      expect([answer.status, (await bodyOf(answer)).errors]).toMatchObject([422, [{ path: "from" }]]);
    },
  );

  test("of a date that does not exist is refused with the form of a right one", async () => {
    await save({ tenant_id: "spender" });
    const answer = await app.call("GET", `${T}/spender/usage?to=2026-13-45`);
    expect((await bodyOf(answer)).errors).toEqual([
      { path: "to", message: "must be a date such as 2026-06-04" },
    ]);
  });
});

/** The tables with rows of a tenant, or of runs of it. */
async function tablesWith(tenant: string, runs: readonly string[]): Promise<string[]> {
  const { sql } = app.stores;
  const columns = await sql<{ table_name: string; column_name: string }[]>`
    select table_name, column_name from information_schema.columns
    where table_schema = 'public' and column_name in ('tenant_id', 'run_id')`;
  const found = new Set<string>();
  for (const { table_name, column_name } of columns) {
    const rows = await sql`
      select from ${sql(table_name)} where ${sql(column_name)} in ${sql([tenant, ...runs])} limit 1`;
    if (rows.length > 0) found.add(table_name);
  }
  return [...found].toSorted();
}

test("a definition that a platform key saves for an unknown tenant creates the tenant, and a refused definition does not", async () => {
  const put = async (tenant: string, body: object) =>
    (await app.call("PUT", `/api/v2/agents/a?tenant_id=${tenant}`, { body })).status;
  expect([await put("fresh", { name: "A" }), await put("typo", { nmae: "A" })]).toEqual([200, 422]);
  expect(await read("fresh")).toMatchObject({ tenant_id: "fresh", max_queued_runs: 1_000 });
  expect((await app.call("GET", `${T}/typo`)).status).toBe(404);
});

describe("a tenant that is deleted", () => {
  test("loses its keys at once, and all its rows in batches; rows of other tenants stay", async () => {
    await save({ tenant_id: "gone", name: "Gone" });
    const key = await app.stores.key("gone");
    const definition = { name: "D", entry_step_id: "a", steps: [{ id: "a", name: "A", type: "end" }] };
    expect((await app.call("PUT", "/api/v2/orchestrations/orch_d", { key, body: definition })).status).toBe(
      200,
    );
    expect((await app.call("PUT", "/api/v2/agents/a", { key, body: { name: "A" } })).status).toBe(200);
    await app.stores.sql`
      insert into webhook_endpoints (tenant_id, endpoint_id, url, events, secret, disable_after_days)
      values ('gone', 'hook', 'https://hooks.example.com/', '{run.failed}', 'v1.sealed', 5)`;
    await app.stores.sql`
      insert into provider_keys (tenant_id, provider, api_key) values ('gone', 'openai', 'v1.sealed')`;
    const start = async () => {
      const webhook_url = "https://hooks.example.com/";
      return startRun(app, {
        key,
        body: { webhook_url },
        headers: { "idempotency-key": crypto.randomUUID() },
      });
    };
    const runs = [await start(), await start(), await start()];
    const worker = await FakeWorker.claim(app.stores.sql, runs[0] ?? "");
    await worker.write({ kind: "step", usage: [{ ...CALL, call: "a", model: "m" }] });
    await failRun(app.stores.sql, runs[1] ?? "");
    const other = await startRun(app, { key: await app.stores.key("stays") });

    const answer = await app.call("DELETE", `${T}/gone`);
    expect(await bodyOf(answer)).toEqual({ status: "deleted", tenant_id: "gone" });
    expect(await read("gone")).toMatchObject({ deleting: true, disabled: true });
    const [valid] = await app.stores
      .sql`select from api_keys where tenant_id = 'gone' and revoked_at is null`;
    expect(valid).toBeUndefined();
    for (const method of ["PATCH", "POST"]) {
      const path = method === "POST" ? T : `${T}/gone`;
      const body = { disabled: false, ...(method === "POST" && { tenant_id: "gone" }) };
      expect([method, (await app.call(method, path, { body })).status]).toEqual([method, 409]);
    }
    // The error of a deleted tenant is final: a client must not try again later, as with a disabled tenant.
    const isDeleted = async (path: string, body: object, headers = {}) => {
      const refused = await app.call("POST", path, { body, headers });
      expect([path, refused.status, (await bodyOf(refused)).code]).toEqual([path, 409, "tenant_deleted"]);
      expect(refused.headers.has("retry-after")).toBe(false);
    };
    const startsNone = async () => {
      await isDeleted(RUN, { tenant_id: "gone" }, { "idempotency-key": "late" });
      await isDeleted("/api/v2/orchestrations/orch_smoke/runs:batch", { tenant_id: "gone", items: [{}] });
      await isDeleted("/api/v2/chat", { tenant_id: "gone", agent: "shared-agent", message: "hi" });
    };
    expect((await app.call("PUT", "/api/v2/agents/shared-agent", { body: { name: "S" } })).status).toBe(200);
    await startsNone();
    await app.stores.withoutRedis(() => isDeleted(RUN, { tenant_id: "gone" }));
    await isDeleted(runPath(runs[1] ?? "", "retry"), {});
    // Definitions of the tenant are not saved: the deletion would delete them too.
    for (const [method, path, body] of [
      ["PUT", "/api/v2/agents/helper", { name: "Helper" }],
      ["PUT", "/api/v2/orchestrations/orch_d", definition],
      ["POST", "/scale/sync", { agents: [{ id: "helper", name: "Helper" }] }],
    ] as const) {
      expect([path, (await app.call(method, `${path}?tenant_id=gone`, { body })).status]).toEqual([
        path,
        409,
      ]);
    }
    const url = "https://hooks.example.com/";
    for (const [method, path, body] of [
      [
        "PUT",
        "/api/v2/schedules/s",
        { tenant_id: "gone", orchestration_id: "orch_smoke", cron: "0 0 * * *" },
      ],
      ["POST", "/api/v2/triggers", { tenant_id: "gone", orchestration_id: "orch_smoke" }],
      ["PUT", "/scale/budgets/b", { tenant_id: "gone", scope: "tenant", limit_usd: 1 }],
      ["PUT", "/api/v2/webhook-endpoints/h?tenant_id=gone", { url }],
      ["POST", "/api/v2/uploads?tenant_id=gone", "text"],
    ] as const) {
      const later = await app.call(method, path, { body, headers: { "content-length": "4" } });
      expect([path, later.status, (await bodyOf(later)).code]).toEqual([path, 409, "tenant_deleted"]);
    }

    // A process dies when half of the rows are deleted; another process continues.
    while (await deleteOfTenants(app.stores.sql));
    // The worker of a deleted run writes nothing.
    expect(await worker.write({ kind: "step" })).toBeUndefined();
    expect(await tablesWith("gone", runs)).toEqual(["audit", "tenants"]);
    expect((await app.call("GET", runPath(other, "status"))).status).toBe(200);

    // A minute after the deletion the tenant is no longer listed, and its id can be used again.
    expect(await read("gone")).toMatchObject({ deleting: true });
    await app.stores
      .sql`update tenants set deleted_at = now() - interval '61 seconds' where tenant_id = 'gone'`;
    expect(await deleteOfTenants(app.stores.sql)).toBe(false);
    expect((await app.call("GET", `${T}/gone`)).status).toBe(404);
    await startsNone();
    expect(await tablesWith("gone", runs)).toEqual(["audit", "tenants"]);
    const Tenants = z.array(z.looseObject({ tenant_id: z.string() }));
    const listed = Tenants.parse(await (await app.call("GET", T)).json());
    expect(listed.map(({ tenant_id }) => tenant_id)).not.toContain("gone");
    expect((await app.call("DELETE", `${T}/gone`)).status).toBe(404);
    const beforeCreation = await app.call("PUT", "/api/v2/agents/a?tenant_id=gone", { body: { name: "A" } });
    expect([beforeCreation.status, (await bodyOf(beforeCreation)).detail]).toEqual([
      409,
      "This tenant was deleted. POST /scale/tenants creates it anew, as soon as nothing is left of it and GET answers 404.",
    ]);
    expect((await save({ tenant_id: "gone", max_queued_runs: 5 })).status).toBe(201);
    expect(await read("gone")).toMatchObject({
      name: "",
      disabled: false,
      deleting: false,
      max_concurrent_runs: 100,
      max_queued_runs: 5,
      requests_per_second: 1000,
    });
    expect((await app.call("POST", RUN, { body: { tenant_id: "gone" } })).status).toBe(202);
  });

  // Fails when a migration adds a table and its rows outlive their tenant.
  test("loses its rows in every table that names a tenant or a run", async () => {
    const sources = ["delete-tenants", "delete-runs"].map((name) =>
      readFile(new URL(`../../../shared/store/tenants/${name}.ts`, import.meta.url), "utf8"),
    );
    const statement = (await Promise.all(sources)).join("\n");
    const tables = await app.stores.sql<{ table_name: string }[]>`
      select distinct table_name from information_schema.columns
      where table_schema = 'public' and column_name in ('tenant_id', 'run_id')
        and not (select relispartition from pg_class where oid = table_name::regclass) order by 1`;
    // The row of the tenant, the bytes of its files, which are 0 without files, and what administrators did with it, stay.
    const kept = ["audit", "file_bytes", "file_bytes_changes", "tenants"];
    const isDeleted = (table: string) =>
      statement.includes(`delete from ${table} `) || statement.includes(`someOf(sql, sql\`${table}\``);
    const missing = tables.filter(({ table_name }) => !kept.includes(table_name) && !isDeleted(table_name));
    expect(missing).toEqual([]);
  });

  // A run that was admitted before the request may be committed after the first batches.
  test("is not purged while it has a run, however late that run was committed", async () => {
    await save({ tenant_id: "late" });
    await app.call("DELETE", `${T}/late`);
    await app.stores
      .sql`update tenants set deleted_at = now() - interval '2 minutes' where tenant_id = 'late'`;
    await app.stores.sql`
      insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, wake_at, correlation_id, input)
      values ('run_aaaaaaaaaaaa_1780499750067', 'late', 'o', '', 1, now(), 'c', '{}')`;
    expect(await deleteOfTenants(app.stores.sql)).toBe(true);
    expect(await read("late")).toMatchObject({ deleting: true });
    expect(await deleteOfTenants(app.stores.sql)).toBe(false);
    expect((await app.call("GET", `${T}/late`)).status).toBe(404);
  });

  test("loses its objects in the periodic work of the edge; objects of a new tenant with the same id stay", async () => {
    await app.stores.sql`
      insert into tenants (tenant_id, purged_at, deleted_at, objects_before) values ('bucket', now(), now(), '2026-06-01')`;
    const object = (key: string, day: string) => ({ key, size: 1, storedMs: Date.parse(day) });
    let objects = [
      ...Array.from({ length: 5 }, (_, n) => object(`bucket/run/${n}`, "2026-05-01")),
      object("bucket/run/new", "2026-07-01"),
      object("buckets/run/other", "2026-05-01"),
    ];
    const calls: string[] = [];
    const bucket = {
      async list(prefix: string, after = "") {
        const rest = objects.filter(({ key }) => key.startsWith(prefix) && key > after);
        if (prefix.startsWith("bucket")) calls.push(`list ${prefix}`);
        return { objects: rest.slice(0, 2), hasMore: rest.length > 2 };
      },
      async delete(keys: readonly string[]) {
        objects = objects.filter(({ key }) => !keys.includes(key));
      },
    };
    await deleteObjectsOfTenants(app.stores.sql, [bucket]);
    expect(objects.map(({ key }) => key)).toEqual(["bucket/run/new", "buckets/run/other"]);
    await deleteObjectsOfTenants(app.stores.sql, [bucket]);
    expect(new Set(calls)).toEqual(new Set(["list bucket/"]));
    const open = await app.stores
      .sql`select from tenants where tenant_id = 'bucket' and objects_before is not null`;
    expect(open).toHaveLength(0);
  });

  /** Tenants that were purged, the first of them first. */
  async function addPurged(...tenants: string[]): Promise<void> {
    await app.stores.sql`
      insert into tenants (tenant_id, deleted_at, purged_at, objects_before)
      select tenant, now(), now(), now() - interval '1 hour' + place * interval '1 second'
      from unnest(${pgArray(tenants)}::text[]) with ordinality as t(tenant, place)`;
  }
  const unpurged = async () =>
    (await app.stores.sql`select tenant_id from tenants where objects_before is not null`).map(
      ({ tenant_id }) => String(tenant_id),
    );
  /** A bucket with pages of one object, which refuses to delete some of them. */
  function bucketOf(objects: { key: string; storedMs: number }[], isLocked: (key: string) => boolean) {
    const left = new Map(objects.map((object) => [object.key, { size: 1, ...object }]));
    return {
      keys: () => [...left.keys()],
      async list(prefix: string, after = "") {
        const rest = [...left.values()].filter(({ key }) => key.startsWith(prefix) && key > after);
        return { objects: rest.slice(0, 1), hasMore: rest.length > 1 };
      },
      async delete(keys: readonly string[]) {
        for (const key of keys) {
          if (isLocked(key)) throw new Error("the object is locked");
          left.delete(key);
        }
      },
    };
  }

  // Fails when the end of a pass counts for a purge that came meanwhile: what the new tenant had stored would stay for ever.
  test("keeps its next purge when it was purged again while its objects were deleted", async () => {
    await addPurged("twice");
    const bucket = bucketOf([{ key: "twice/run/a", storedMs: 0 }], () => false);
    const list = async (prefix: string, after?: string) => {
      await app.stores
        .sql`update tenants set objects_before = now(), objects_after = null where tenant_id = 'twice'`;
      return bucket.list(prefix, after);
    };
    await deleteObjectsOfTenants(app.stores.sql, [{ ...bucket, list }]);
    expect(await unpurged()).toEqual(["twice"]);
    await deleteObjectsOfTenants(app.stores.sql, [bucket]);
    expect(await unpurged()).toEqual([]);
  });

  // Fails when an object that cannot be deleted ends the pass: those of its tenant and of all tenants after it would stay for as long.
  test("loses its other objects when the store refuses to delete one, and so do all other deleted tenants", async () => {
    const locked = Array.from({ length: 40 }, (_, n) => `locked${n}`);
    await addPurged(...locked, "unlocked");
    const objects = [...locked, "unlocked"].flatMap((tenant) => [`${tenant}/run/a`, `${tenant}/run/b`]);
    const bucket = bucketOf(
      objects.map((key) => ({ key, storedMs: 0 })),
      (key) => /^locked.*a$/.test(key),
    );
    // A pass takes 20 tenants at random.
    for (let pass = 0; pass < 100 && bucket.keys().length > locked.length; pass++) {
      await expect(deleteObjectsOfTenants(app.stores.sql, [bucket])).rejects.toThrow("locked");
    }
    expect(bucket.keys()).toEqual(locked.map((tenant) => `${tenant}/run/a`));
    expect((await unpurged()).toSorted()).toEqual(locked.toSorted());
    await app.stores.sql`update tenants set objects_before = null`;
  });

  // Fails when a pass with an error begins again at its first page, or when its end counts although objects are left.
  test("loses the objects behind twenty pages that the store refuses to delete, and these when the store deletes again", async () => {
    await addPurged("held");
    const held = Array.from({ length: 20 }, (_, n) => `held/run/a${n + 10}`);
    const objects = [...held, "held/run/b"].map((key) => ({ key, storedMs: 0 }));
    let isHeld = true;
    const bucket = bucketOf(objects, (key) => isHeld && held.includes(key));
    const pass = () => deleteObjectsOfTenants(app.stores.sql, [bucket]);
    await expect(pass()).rejects.toThrow("locked");
    await pass();
    expect(bucket.keys()).toEqual(held);
    expect(await unpurged()).toEqual(["held"]);
    isHeld = false;
    await pass();
    expect([bucket.keys(), await unpurged()]).toEqual([[], []]);
  });

  // Fails when each pass reads the same pages: 20 of them, of younger objects, would hide the others for ever.
  test("loses its objects in a later pass when a new tenant with the same id has pages of objects before them", async () => {
    await addPurged("again");
    const young = Array.from({ length: 20 }, (_, n) => ({
      key: `again/run/a${n + 10}`,
      storedMs: Date.now(),
    }));
    const bucket = bucketOf([...young, { key: "again/run/b", storedMs: 0 }], () => false);
    await deleteObjectsOfTenants(app.stores.sql, [bucket]);
    expect(await unpurged()).toEqual(["again"]);
    await deleteObjectsOfTenants(app.stores.sql, [bucket]);
    expect(bucket.keys()).toEqual(young.map(({ key }) => key));
    expect(await unpurged()).toEqual([]);
  });

  // Fails when objects count as deleted although the edge has not looked into the bucket that has them.
  test("are not looked for while the edge cannot use the bucket of the settings", async () => {
    const variables = readConfig(app.stores.vars);
    expect(await bucketsToPurge({}, variables, [])).toEqual([]);
    const stored = ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"].map((name) => ({
      name,
      value: "another key's",
    }));
    expect(
      await bucketsToPurge({}, variables, [{ name: "S3_BUCKET", value: "objects" }, ...stored]),
    ).toBeNull();
  });
});
