import postgres from "postgres";
import { NO_RETENTION } from "../../../shared/contracts/retention.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { testConnection } from "../../services/databases.ts";
import { ensureTenant, listTenants, saveTenant } from "../../../shared/store/tenants/tenant-rows.ts";
import { limitsOf } from "../../../shared/store/tenants/tenant-limits.ts";
import { freshDatabase } from "../../services/services.ts";

let sql: Sql;
beforeAll(async () => {
  sql = postgres(await freshDatabase(), { ...testConnection, max: 10 });
});
afterAll(() => sql.end());

const id = (name: string) => TenantId.parse(name);

describe("a tenant", () => {
  test("is created once, with the defaults, by many requests at the same time", async () => {
    const tenants = await Promise.all(Array.from({ length: 20 }, () => ensureTenant(sql, id("many"), 500)));
    expect(new Set(tenants.map((tenant) => JSON.stringify(tenant))).size).toBe(1);
    expect(tenants[0]).toMatchObject({
      max_concurrent_runs: 100,
      max_queued_runs: 1000,
      requests_per_second: 500,
      version: 1,
    });
  });

  test("keeps the fields that a change does not name, and each change increases its version", async () => {
    await saveTenant(
      sql,
      { tenant_id: id("acme"), name: "ACME", max_concurrent_runs: 20, max_queued_runs: 0 },
      1000,
    );
    const changed = await saveTenant(sql, { tenant_id: id("acme"), weight: 3 }, 1000);
    expect(changed).toEqual({
      tenant_id: "acme",
      name: "ACME",
      max_concurrent_runs: 20,
      max_queued_runs: 0,
      requests_per_second: 1000,
      weight: 3,
      disabled: false,
      deleting: false,
      max_artifact_bytes: 200 * 1024 * 1024,
      max_total_artifact_bytes: 1024 ** 5,
      artifact_bytes: 0,
      max_open_streams: 1000,
      runs_per_minute: 1_000_000_000,
      retention: JSON.parse(NO_RETENTION),
      version: 2,
    });
    expect(await ensureTenant(sql, id("acme"), 1)).toEqual(changed);
  });

  test("is listed by id, page by page", async () => {
    for (const name of ["l-1", "l-2", "l-3"]) await ensureTenant(sql, id(name), 1);
    const ids = (await listTenants(sql, "l-", 2)).map((tenant) => tenant.tenant_id);
    expect(ids).toEqual(["l-1", "l-2"]);
    expect((await listTenants(sql, "l-2", 1)).map((tenant) => tenant.tenant_id)).toEqual(["l-3"]);
  });

  test("has no max_ limits in the queue when tenants are not isolated, and keeps its rate and weight", async () => {
    const tenant = await ensureTenant(sql, id("open"), 7);
    const disabled = { ...tenant, disabled: true };
    expect(limitsOf(disabled, false)).toMatchObject({ maxConcurrentRuns: 0, maxQueuedRuns: 0 });
    expect(limitsOf(tenant, true)).toMatchObject({
      maxConcurrentRuns: 100,
      maxQueuedRuns: 1000,
      requestsPerSecond: 7,
    });
    expect(limitsOf(tenant, false)).toMatchObject({
      maxConcurrentRuns: 1e9,
      maxQueuedRuns: 1e9,
      requestsPerSecond: 7,
    });
  });
});
