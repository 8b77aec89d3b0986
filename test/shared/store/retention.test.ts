import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { turnDefinitionId } from "../../../shared/contracts/chat.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { Retention } from "../../../shared/contracts/retention.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { takeExpiredObjects } from "../../../shared/store/files/expired-objects.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { BatchId } from "../../../shared/contracts/batch.ts";
import { deleteDefinition, saveDefinitionIf } from "../../../shared/store/definitions/agents-and-tools.ts";
import { foldCounters, readCounters, saveCounters } from "../../../shared/store/metrics/counters.ts";
import { listApiKeys, newApiKey, saveApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { acceptRuns } from "../../../shared/store/runs/accept-runs.ts";
import { readBatch } from "../../../shared/store/runs/batches.ts";
import { retryRun } from "../../../shared/store/runs/requeue-for-retry.ts";
import { deleteOfTenants } from "../../../shared/store/tenants/delete-tenants.ts";
import { changeTenant, requestTenantDeletion } from "../../../shared/store/tenants/tenant-rows.ts";
import { newRun } from "../../services/new-run.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { MemoryBucket } from "../../services/memory-bucket.ts";
import { ageEnd, archivePass } from "../../services/archive.ts";
import { acme, globex, openStore, saveEmptyOrchestration, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
});
afterEach(() => store.close());

const keep = (retention: Partial<Retention>, tenant = acme) => changeTenant(store.sql, tenant, { retention });
const call = {
  call: "a",
  provider: "p",
  model: "m",
  input_tokens: 1,
  output_tokens: 1,
  cost_micro_usd: 5,
};

/** A failed run of a tenant with a charge and a dead letter, that ended `days` ago. */
async function endedRun(days: number, tenant = acme): Promise<RunId> {
  const run = await store.startRun({ tenant_id: tenant });
  const letter = { code: "c", message: "m", stack: null, step_id: "a", tries: 1, first_failed_at: null };
  const end = {
    kind: "end" as const,
    status: "failed" as const,
    output: "{}",
    usage: [call],
    dead_letter: letter,
  };
  await flush(store.sql, [stepEntry(run, end)]);
  await ageEnd(store.sql, run.run_id, days * 24);
  const age = store.sql`now() - ${days} * interval '1 day'`;
  await store.sql`update runs set queued_at = ${age} where run_id = ${run.run_id}`;
  await store.sql`update usage set at = ${age} where run_id = ${run.run_id}`;
  await store.sql`update dead_letters set failed_at = ${age} where run_id = ${run.run_id}`;
  return run.run_id;
}
const idsIn = async (table: string): Promise<unknown[]> =>
  (await store.sql`select run_id from ${store.sql(table)} order by run_id`).map((row) => row["run_id"]);
const sorted = (...runs: string[]) => runs.toSorted((a, b) => (a < b ? -1 : 1));

// Fails when a policy reaches another tenant, a run that has not ended, or a charge.
test("runs_days deletes ended runs of this tenant, and keeps their usage", async () => {
  const [old, young, other] = [await endedRun(10), await endedRun(8), await endedRun(10, globex)];
  const open = (await store.startRun()).run_id;
  await store.sql`update runs set queued_at = now() - interval '10 days' where run_id = ${open}`;
  expect((await keep({ runs_days: 9 }))?.retention).toMatchObject({ runs_days: 9, usage_days: null });
  await deleteExpired(store.sql);
  expect(await idsIn("runs")).toEqual(sorted(young, other, open));
  expect(await idsIn("journal")).toEqual(sorted(young, other));
  expect(await idsIn("dead_letters")).toEqual(sorted(young, other));
  expect(await idsIn("usage")).toEqual(sorted(old, young, other));
  const key = (run: string, tenant = "acme") => `${tenant}/${run}/a/1.1/set.x`;
  expect(await takeExpiredObjects(store.sql, [key(old), key(young), key(old, "globex")])).toEqual([key(old)]);
});

// Fails when the parent finds no child whose result it waits for.
// Fails when the first failure ends the call: a statement that always fails would keep all tables after its own from retention.
test("a table or a tenant of which nothing can be deleted does not stop the retention of the others", async () => {
  await endedRun(3, globex);
  await keep({ runs_days: 1 }, globex);
  // A policy that this version cannot read, of a tenant that is examined first.
  await store.sql`update tenants set retention = '{"runs_days": "x"}' where tenant_id = ${acme}`;
  await store.sql`alter table mails rename to mails_away`;
  await store.sql`
    insert into batches (batch_id, tenant_id, orchestration_id, total, kept_until)
    values ('batch_a', ${acme}, 'orch', 1, now() - interval '1 day')`;
  await expect(deleteExpired(store.sql)).rejects.toThrow("mails");
  expect(await idsIn("runs")).toEqual([]);
  expect(await store.sql`select from batches`).toHaveLength(0);
});

test("a child is not deleted before its parent has ended", async () => {
  const [parent, child] = [(await store.startRun()).run_id, await endedRun(10)];
  await store.sql`update runs set parent_run_id = ${parent} where run_id = ${child}`;
  await keep({ runs_days: 1 });
  await deleteExpired(store.sql);
  expect(await idsIn("runs")).toEqual(sorted(parent, child));
});

test("a deleted run that was archived leaves its segment with one run less", async () => {
  const bucket = new MemoryBucket();
  await endedRun(10);
  const young = await endedRun(5);
  await archivePass(store.sql, bucket);
  await keep({ runs_days: 9 });
  await deleteExpired(store.sql);
  expect(await idsIn("runs")).toEqual([young]);
  expect(await store.sql`select live_runs, unused_since from journal_segments`).toEqual([
    { live_runs: 1, unused_since: null },
  ]);
});

test("usage_days and dead_letters_days delete rows of this tenant, and no runs", async () => {
  const [old, young, other] = [await endedRun(10), await endedRun(8), await endedRun(10, globex)];
  await keep({ usage_days: 9, dead_letters_days: 9 });
  await deleteExpired(store.sql);
  expect(await idsIn("usage")).toEqual(sorted(young, other));
  expect(await idsIn("dead_letters")).toEqual(sorted(young, other));
  expect(await idsIn("runs")).toEqual(sorted(old, young, other));
});

// Fails when a part of a day is deleted: a report by days, and an invoice made of it, would show the rest as the day's sum.
test("usage_days deletes the charges of whole days of UTC", async () => {
  const [gone, first, last] = [await endedRun(0), await endedRun(0), await endedRun(0)];
  const at = async (run: RunId, time: string) =>
    store.sql`
      update usage set at = (date_trunc('day', now() at time zone 'utc') + ${time}::text::interval) at time zone 'utc'
      where run_id = ${run}`;
  await at(gone, "-3 days -1 millisecond");
  await at(first, "-3 days");
  await at(last, "-2 days -1 millisecond");
  await keep({ usage_days: 3 });
  await deleteExpired(store.sql);
  expect(await idsIn("usage")).toEqual(sorted(first, last));
});

test("journal_days keeps journals in Postgres for longer, and null restores the days of the platform", async () => {
  const bucket = new MemoryBucket();
  await endedRun(5);
  await endedRun(5, globex);
  await keep({ journal_days: 6 });
  expect(await archivePass(store.sql, bucket)).toBe(1);
  expect((await keep({ journal_days: null }))?.retention.journal_days).toBeNull();
  expect(await archivePass(store.sql, bucket)).toBe(1);
});

test("artifacts_days expires the objects of runs that ended before", async () => {
  const [old, young] = [await endedRun(10), await endedRun(8)];
  await keep({ artifacts_days: 9 });
  const keys = [old, young].map((run) => `acme/${run}/a/1.1/set.x`);
  expect(await takeExpiredObjects(store.sql, [...keys, "acme/uploads/x", "acme/journal/y"])).toEqual([
    keys[0],
  ]);
});

// Fails when the platform's 30 days hold for a tenant that keeps its deliveries for longer.
test("deliveries_days replaces the 30 days of the platform, by more or fewer", async () => {
  const insert = (tenant: string, days: number) => store.sql`
    insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, outcome, done_at, next_at,
      expires_at, created_at,
      status, tokens, cost_micro_usd)
    select ${`${tenant}-${days}`}, ${`run_${tenant}_${days}`}, 1, ${tenant}, 'orch', 'run.completed', 'http://x', 'delivered', at, null, at, at,
      'completed', 0, 0 from (select now() - ${days} * interval '1 day' as at) a`;
  for (const tenant of ["acme", "globex"]) for (const days of [6, 8, 31, 91]) await insert(tenant, days);
  await keep({ deliveries_days: 7 });
  await keep({ deliveries_days: 90 }, globex);
  await deleteExpired(store.sql);
  const left = await store.sql`select delivery_id from webhook_deliveries`;
  expect(new Set(left.map((row) => row["delivery_id"]))).toEqual(
    new Set(["acme-6", "globex-6", "globex-8", "globex-31"]),
  );
});

// Fails when a version is deleted that a run would need for its retry.
test("versions keeps the newest ones, and those that runs are pinned to", async () => {
  const pinned = await store.accept();
  for (let i = 0; i < 4; i++) await saveEmptyOrchestration(store.sql, acme, "orch");
  await keep({ versions: 2 });
  await deleteExpired(store.sql);
  const left =
    await store.sql`select version from orchestration_versions where tenant_id = 'acme' order by version`;
  expect(left.map((row) => row["version"])).toEqual([1, 4, 5]);
  expect((await store.row(pinned))["definition_version"]).toBe(1);
});

test("a full slice is followed by another one", async () => {
  await store.sql`
    insert into usage (run_id, seq, call, tenant_id, at, provider, model, input_tokens, output_tokens, cost_micro_usd)
    select 'run_x', i, 'c', 'acme', now() - interval '3 days', 'p', 'm', 1, 1, 1 from generate_series(1, 5001) i`;
  await keep({ usage_days: 2 });
  expect(await deleteExpired(store.sql)).toBe(true);
  expect(await store.sql`select 1 from usage`).toHaveLength(1);
  expect(await deleteExpired(store.sql)).toBe(true);
  expect(await store.sql`select 1 from usage`).toHaveLength(0);
  expect(await deleteExpired(store.sql)).toBe(false);
});

describe("a batch", () => {
  const batch = BatchId.parse(`batch_${"1".repeat(24)}`);
  const begin = (days: number) => store.sql`
    insert into batches (batch_id, tenant_id, orchestration_id, total, created_at, kept_until)
    values (${batch}, ${acme}, 'orch', 2, now() - ${days} * interval '1 day', now() + (30 - ${days}) * interval '1 day')`;
  const addRun = async (run: RunId) => {
    await store.sql`update runs set batch_id = ${batch}, batch_index = 0 where run_id = ${run}`;
    return run;
  };

  // Fails when batches stay for ever: nothing else deletes them but the deletion of their tenant.
  test("without runs is kept for 30 days", async () => {
    await begin(29);
    await deleteExpired(store.sql);
    expect(await readBatch(store.sql, acme, batch)).not.toBeNull();
    await store.sql`update batches set kept_until = now() - interval '1 second'`;
    await deleteExpired(store.sql);
    expect(await readBatch(store.sql, acme, batch)).toBeNull();
  });

  test("with runs is kept as long as they are, and is not read by each pass", async () => {
    await begin(40);
    const [old, young] = [await addRun(await endedRun(10)), await addRun(await endedRun(8))];
    await deleteExpired(store.sql);
    expect(await store.sql`select kept_until from batches`).toEqual([{ kept_until: null }]);
    for (const [days, run] of [
      [9, old],
      [7, young],
    ] as const) {
      expect(await readBatch(store.sql, acme, batch), run).not.toBeNull();
      await keep({ runs_days: days });
      await store.sql`update tenants set retained_at = null`;
      await deleteExpired(store.sql);
      await deleteExpired(store.sql);
    }
    expect(await idsIn("runs")).toEqual([]);
    expect(await readBatch(store.sql, acme, batch)).toBeNull();
  });

  // Fails when the key of an item ends with that of its batch: a request that has just joined the batch would start its runs again.
  test("has items whose keys outlive its own by an hour", async () => {
    const alone = { tenant_id: acme, idempotency_key: "l", request_hash: "h" };
    const item = { ...alone, idempotency_key: "k", batch: { id: batch, index: 0 } };
    const accept = async () => (await acceptRuns(store.sql, [newRun(item), newRun(alone)])).size;
    expect(await accept()).toBe(2);
    await store.sql`update idempotency_keys set created_at = created_at - interval '24 hours 30 minutes'`;
    expect(await accept()).toBe(1);
  });
});

// Fails when the text of a chat outlives the runs of its turns, which is all that a client sees of it.
test("the messages of a turn go with its run, and a session with its last turn", async () => {
  const [old, young] = [await endedRun(10), await endedRun(8)];
  const other = await endedRun(10, globex);
  const base = (run: string) => run.slice(-13);
  for (const [session, tenant, runs] of [
    ["one", acme, [old, young]],
    ["two", globex, [other]],
  ] as const) {
    await store.sql`
      insert into chat_sessions (session_id, tenant_id, agent_id, newest_base)
      values (${session}, ${tenant}, 'a', ${base(runs.at(-1) ?? "")})`;
    for (const run of runs) {
      await store.sql`update runs set chat_session = ${session} where run_id = ${run}`;
      await store.sql`
        insert into chat_messages (session_id, base, n, content) values (${session}, ${base(run)}, 0, 'q'), (${session}, ${base(run)}, 2, 'a')`;
    }
  }
  const left = async () => ({
    sessions: (await store.sql`select session_id from chat_sessions order by 1`).map(
      (row) => row["session_id"],
    ),
    bases: (await store.sql`select distinct base from chat_messages order by 1`).map((row) => row["base"]),
  });
  await keep({ runs_days: 9 });
  await deleteExpired(store.sql);
  expect(await left()).toEqual({ sessions: ["one", "two"], bases: sorted(base(young), base(other)) });
  await keep({ runs_days: 7 });
  await store.sql`update tenants set retained_at = null`;
  await deleteExpired(store.sql);
  expect(await left()).toEqual({ sessions: ["two"], bases: [base(other)] });
});

// Fails when a session goes without its older messages: nothing finds them any more, and they outlive even their tenant.
test("a session goes with the messages of turns whose runs were deleted before by a version that kept messages", async () => {
  const run = await endedRun(10);
  await store.sql`
    insert into chat_sessions (session_id, tenant_id, agent_id, newest_base) values ('one', ${acme}, 'a', ${run.slice(-13)})`;
  await store.sql`update runs set chat_session = 'one' where run_id = ${run}`;
  await store.sql`
    insert into chat_messages (session_id, base, n, content)
    values ('one', '1600000000000', 0, 'q'), ('one', ${run.slice(-13)}, 0, 'q')`;
  await keep({ runs_days: 9 });
  await deleteExpired(store.sql);
  expect(await store.sql`select base from chat_messages`).toEqual([]);
});

// Fails when a run stays in the queue of the archive, which takes it out after `journal_days`: years after the run is gone.
test.each(["deleted", "retried"])("a run that is %s leaves the queue of the archive", async (change) => {
  const run = await endedRun(10);
  await store.sql`
    insert into journals_to_archive (tenant_id, ended_at, run_id) select tenant_id, ended_at, run_id from runs`;
  await keep({ journal_days: 3_000, ...(change === "deleted" && { runs_days: 9 }) });
  await deleteExpired(store.sql);
  if (change === "retried") {
    const known_seq = Number((await store.row(run))["event_seq"]);
    await retryRun(store.sql, { run_id: run, tenant_id: acme, known_seq, output: "{}", event: "{}" });
  }
  expect(await idsIn("journals_to_archive")).toEqual([]);
});

// Fails when the charges of runs that retention has deleted outlive their tenant.
test("a deleted tenant loses the usage of runs that were deleted before", async () => {
  await endedRun(10);
  await keep({ runs_days: 9 });
  await deleteExpired(store.sql);
  expect(await idsIn("usage")).toHaveLength(1);
  await requestTenantDeletion(store.sql, acme);
  while (await deleteOfTenants(store.sql));
  expect(await idsIn("usage")).toEqual([]);
});

// Fails when a run is deleted with the rows that the snapshot of the statement shows: an entry that its worker commits after the snapshot
// and before the lock would stay for ever.
test("a deleted tenant loses what a worker commits while its runs are being deleted", async () => {
  const { sql } = store;
  const run = await store.startRun();
  await requestTenantDeletion(sql, acme);
  // The statement has its snapshot when it reads the tenants, and has not locked the runs yet.
  await sql`alter table tenants rename to all_tenants`;
  await sql`
    create function pause_deletion() returns boolean language plpgsql volatile as $$ begin
      if current_query() like '%doomed%' then perform pg_advisory_xact_lock(1); end if;
      return true;
    end $$`;
  await sql`create view tenants as select * from all_tenants where pause_deletion()`;
  let deleting: Promise<boolean> | undefined;
  await sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(1)`;
    deleting = deleteOfTenants(sql);
    await untilLockWait(sql);
    expect(await flush(sql, [stepEntry(run)])).toHaveLength(1);
  });
  await deleting;
  while (await deleteOfTenants(sql));
  const [left] =
    await sql`select (select count(*) from runs)::int as runs, (select count(*) from journal)::int as entries`;
  expect(left).toEqual({ runs: 0, entries: 0 });
});

// Fails when keys that are rotated every day pile up for ever.
test("an API key is deleted a year after it was revoked or has expired", async () => {
  const ids = async () => (await listApiKeys(store.sql, null, null, 10)).map(({ name }) => name).toSorted();
  const save = async (name: string, revokedDays: number | null, expiredDays: number | null) => {
    const id = await saveApiKey(store.sql, newApiKey(), { tenant: acme, name, scopes: ["runs:read"] });
    await store.sql`
      update api_keys set revoked_at = now() - ${revokedDays} * interval '1 day', expires_at = now() - ${expiredDays} * interval '1 day'
      where key_id = ${id}`;
  };
  await save("revoked", 366, null);
  await save("expired", 3, 366);
  await save("young", 364, null);
  await save("valid", null, -9);
  await deleteExpired(store.sql);
  expect(await ids()).toEqual(["valid", "young"]);
});

// Fails when requests that are refused, or repeated under their Idempotency-Key, leave a row each for as long as the upload is used.
test("a use of an upload by a run that was not accepted is deleted a day later", async () => {
  const used = await store.accept();
  const idOfHoursAgo = (hours: number) => newRunId(Date.now() - hours * 3_600_000);
  const [old, young] = [idOfHoursAgo(25), idOfHoursAgo(23)];
  await store.sql`insert into upload_uses (run_id, upload_id) values (${old}, 'u'), (${young}, 'u'), (${used}, 'u')`;
  await deleteExpired(store.sql);
  expect(await idsIn("upload_uses")).toEqual(sorted(young, used));
  const kept = idOfHoursAgo(26);
  await store.sql`update runs set run_id = ${kept} where run_id = ${used}`;
  await store.sql`update upload_uses set run_id = ${kept} where run_id = ${used}`;
  await deleteExpired(store.sql);
  expect(await store.sql`select checked from upload_uses where run_id = ${kept}`).toEqual([
    { checked: true },
  ]);
});

// Fails when the secrets in a definition stay in the database after the definition was deleted.
test.each(["agents", "tools", "mcp_servers"] as const)(
  "the text of deleted %s goes after 30 days, and their version goes on",
  async (kind) => {
    const row = { id: "a", name: "A", definition: '{"secret":"x"}' };
    const save = () => saveDefinitionIf(store.sql, kind, acme, row);
    const text = async () => (await store.sql`select definition from ${store.sql(kind)}`)[0]?.["definition"];
    await save();
    await save();
    await deleteDefinition(store.sql, kind, acme, "a");
    for (const [days, left] of [
      [29, row.definition],
      [31, "{}"],
    ] as const) {
      await store.sql`update ${store.sql(kind)} set deleted_at = now() - ${days} * interval '1 day'`;
      await deleteExpired(store.sql);
      expect(await text()).toBe(left);
    }
    expect(await save()).toBe(4);
  },
);

// Fails when versions of agents, which turns are pinned to, are no versions of an orchestration for the policy.
test("versions applies to the agents of chat turns too", async () => {
  for (let i = 0; i < 3; i++)
    await saveDefinitionIf(store.sql, "agents", acme, { id: "a", name: "A", definition: "{}" });
  const id = turnDefinitionId("a");
  const run = await store.accept();
  await store.sql`
    insert into orchestration_versions (tenant_id, id, version, definition) select ${acme}, ${id}, v, '{}' from generate_series(1, 3) v`;
  await store.sql`
    update runs set orchestration_id = ${id}, definition_tenant = ${acme}, definition_version = 1 where run_id = ${run}`;
  await keep({ versions: 1 });
  const left = async () => {
    await store.sql`update tenants set retained_at = null`;
    await deleteExpired(store.sql);
    const rows = await store.sql`select version from orchestration_versions where id = ${id} order by 1`;
    return rows.map((row) => row["version"]);
  };
  expect(await left()).toEqual([1, 2, 3]);
  await store.sql`update agents set updated_at = now() - interval '2 minutes'`;
  expect(await left()).toEqual([1, 3]);
});

// Fails when the series of a deleted tenant stay: they take the places of others among the first 1,000.
test("the metrics of a deleted tenant go with it, also those that a worker reports later", async () => {
  const worker = await store.addWorker();
  const labels = (tenant_id: string) => ({ tenant_id, status: "completed" });
  const report = () =>
    saveCounters(
      store.sql,
      worker,
      [acme, globex].map((tenant) => ({ series: "s", labels: labels(tenant), value: 1 })),
    );
  await store.sql`insert into metric_counters (source, series, labels, value) values ('', 's', '{"tenant_id": "acme"}', 1)`;
  await report();
  await requestTenantDeletion(store.sql, acme);
  await store.sql`update tenants set deleted_at = now() - interval '2 minutes' where tenant_id = ${acme}`;
  while (await deleteOfTenants(store.sql));
  await report();
  await store.sql`delete from workers`;
  await foldCounters(store.sql);
  expect(await readCounters(store.sql)).toEqual([{ series: "s", labels: labels("globex"), value: 1 }]);
});
