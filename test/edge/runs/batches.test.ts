import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { BatchAccepted, BatchView } from "../../../edge/runs/batch-view.ts";
import { newUploadId } from "../../../shared/contracts/artifact.ts";
import { BatchId } from "../../../shared/contracts/batch.ts";
import { TenantId, newRunId } from "../../../shared/contracts/ids.ts";
import { insertBatch, readBatch, saveBatchOutcome } from "../../../shared/store/runs/batches.ts";
import { beginUpload, completeUpload } from "../../../shared/store/files/uploads.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { bodyOf, runPath, startApp, type CallOptions, type TestApp } from "../app.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { saveEmptyOrchestration } from "../../shared/store/store-fixture.ts";
import { ANY_LINE_END } from "../../services/any-line.ts";
import { FakeJournalWriter } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const BATCH = "/api/v2/orchestrations/orch_smoke/runs:batch";
const post = async (items: unknown[], options: CallOptions = {}, more = {}) => {
  const response = await app.call("POST", BATCH, { body: { items, ...more }, ...options });
  expect(response.status).toBe(202);
  return BatchAccepted.parse(await response.json());
};
const progress = async (url: string) => BatchView.parse(await (await app.call("GET", url)).json());
const statuses = (batch: z.infer<typeof BatchAccepted>) => batch.items.map(({ status }) => status);

const Line = z.looseObject({ index: z.number(), run_id: z.string(), status: z.string() });
const linesOf = async (url: string) => {
  const response = await app.call("GET", url);
  expect(response.headers.get("content-type")).toMatch("application/x-ndjson");
  const text = await response.text();
  return text
    .split(ANY_LINE_END)
    .filter((line) => line !== "")
    .map((line) => Line.parse(JSON.parse(line)));
};

describe("a batch", () => {
  // Fails when the body of a platform key, which names the tenant in it, counts for no tenant: twenty such requests hold 20 MiB.
  test.each(["tenant", "platform"] as const)("of a %s key counts its bytes for the tenant", async (kind) => {
    const items = [{ message: "x".repeat(900_000) }];
    const key = kind === "platform" ? app.platformKey : await app.stores.key("heavy");
    const answers = await Promise.all(
      Array.from({ length: 24 }, async () =>
        app.call("POST", BATCH, { key, body: { items, ...(kind === "platform" && { tenant_id: "heavy" }) } }),
      ),
    );
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(await refused[0]?.json()).toMatchObject({
      code: "rate_limited",
      detail: expect.stringContaining("16 MiB"),
    });
    expect(answers.every(({ status }) => status === 429 || status === 202)).toBe(true);
  });

  test("starts each item as a run of its own, in one answer, and keeps the items' fields", async () => {
    const batch = await post([{ message: "a", priority: 3 }, { message: "b", metadata: { n: 2 } }, {}]);
    expect(batch).toMatchObject({ accepted: 3, refused: 0, skipped: 0 });
    const ids = batch.items.flatMap((item) => (item.status === "queued" ? [item.run_id] : []));
    expect(new Set(ids).size).toBe(3);
    expect(await bodyOf(await app.call("GET", runPath(ids[1] ?? "", "status")))).toMatchObject({
      status: "queued",
      metadata: { n: 2 },
      triggered_by: "api",
    });
    await app.settled();
    const jobs = (await app.stores.queue.list(0, "0", 1000)).jobs.map(({ run }) => String(run));
    expect(jobs).toEqual(expect.arrayContaining(ids));
  });

  test("that prefers lenient handling ignores unknown fields of its items too, and the response to a repetition names the repetition", async () => {
    const send = async (items: object[], headers: Record<string, string>) => {
      const answer = await app.call("POST", BATCH, { body: { items }, headers });
      const header = (name: string) => answer.headers.get(name);
      const batch = BatchAccepted.parse(await answer.json());
      return { batch, applied: header("preference-applied"), replayed: header("idempotent-replayed") };
    };
    const key = { "idempotency-key": "lenient-batch" };
    const first = await send([{ message: "a" }, { message: "b" }], key);
    expect(first).toMatchObject({ applied: null, replayed: null, batch: { accepted: 2 } });
    const lenient = { ...key, prefer: "handling=lenient" };
    const repeated = await send([{ message: "a", colour: 1 }, { message: "b" }], lenient);
    expect(repeated).toEqual({ batch: first.batch, applied: "handling=lenient", replayed: "true" });
    const strict = await send([{ message: "a", colour: 1 }], {});
    expect(strict.batch.items).toMatchObject([{ status: "refused", code: "invalid" }]);
  });

  test("of 1,000 items is accepted; a batch of 1,001 items, or of none, is refused", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "big", requests_per_second: 5000 } });
    const batch = await post(
      Array.from({ length: 1000 }, (_, i) => ({ message: String(i) })),
      {},
      { tenant_id: "big" },
    );
    expect(batch).toMatchObject({ accepted: 1000, refused: 0 });
    expect(batch.items.map(({ index }) => index)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    for (const items of [[], Array.from({ length: 1001 }, () => ({}))]) {
      const refused = await bodyOf(await app.call("POST", BATCH, { body: { items } }));
      expect(refused).toMatchObject({ status: 422, errors: [{ path: "items" }] });
    }
  });

  // Fails when a batch drops what POST …/run takes, or one item's upload is looked for once for all of them.
  test("attaches to each item its own uploads, and refuses only the item whose upload does not exist", async () => {
    const [upload_id, missing] = [newUploadId(), newUploadId()];
    const [tenant_id, facts] = [TenantId.parse("default"), { content_type: "text/plain", bytes: 1 }];
    await beginUpload(app.stores.sql, { upload_id, tenant_id, name: "a.txt", ...facts });
    await completeUpload(app.stores.sql, upload_id, "0".repeat(64));
    const { items } = await post([
      { attachments: [{ upload_id }] },
      { attachments: [{ upload_id: missing }] },
      { message: "no file" },
    ]);
    expect(items).toMatchObject([
      { status: "queued" },
      { status: "refused", code: "not_found", errors: [{ path: "attachments[0].upload_id" }] },
      { status: "queued" },
    ]);
    const uses = await app.stores.sql`select run_id from upload_uses join runs using (run_id)`;
    expect(uses).toEqual([{ run_id: items[0]?.status === "queued" ? items[0].run_id : null }]);
  });

  test("refuses each wrong item with its own path and reason, and starts the others", async () => {
    const batch = await post([
      { message: "ok" },
      { message: 5 },
      { mesage: "typo" },
      "no object",
      { tenant_id: "other" },
      { delay_seconds: 1, run_at: "2026-01-01T00:00:00Z" },
      { webhook_url: "http://127.0.0.1/" },
    ]);
    expect(statuses(batch)).toEqual(["queued", ...Array.from({ length: 6 }, () => "refused")]);
    expect(batch.items[2]).toMatchObject({ code: "invalid", errors: [{ path: "mesage" }] });
    expect(batch.items[4]).toMatchObject({ errors: [{ path: "tenant_id" }] });
    expect(await progress(batch.status_url)).toMatchObject({
      total: 7,
      runs: { queued: 1 },
      refused: [1, 2, 3, 4, 5, 6].map((index) => ({ index, code: "invalid" })),
    });
  });

  test("stops at the tenant's quota: the items beyond it are refused, and never more are queued", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "quota", max_queued_runs: 3 } });
    const batch = await post(
      Array.from({ length: 5 }, () => ({})),
      {},
      { tenant_id: "quota" },
    );
    expect(batch).toMatchObject({ accepted: 3, refused: 2 });
    expect(batch.items.filter(({ status }) => status === "refused")).toMatchObject([
      { code: "queue_full", retry_after_seconds: 5 },
      { code: "queue_full" },
    ]);
  });

  test("has in its RateLimit headers what is left after its last item", async () => {
    const queuedOf = async (testApp: TestApp, count: number) => {
      const items = Array.from({ length: count }, () => ({}));
      const { headers } = await testApp.call("POST", BATCH, { body: { items, tenant_id: "left" } });
      const left = /"queued";r=(\d+)/.exec(headers.get("ratelimit") ?? "")?.[1];
      return [left, /"queued";[^,]*/.exec(headers.get("ratelimit-policy") ?? "")?.[0]];
    };
    const policy = '"queued";q=7;qu="queued-runs"';
    // Once Redis was slow on a busy machine, Postgres admits until a worker has synced the queue, and such answers have no such field:
    // then another app with stores of its own is asked.
    await expect
      .poll(async () => {
        const fresh = await startApp();
        await fresh.call("POST", "/scale/tenants", { body: { tenant_id: "left", max_queued_runs: 7 } });
        const placesLeft = [await queuedOf(fresh, 3), await queuedOf(fresh, 6)];
        await fresh.stop();
        return placesLeft;
      })
      .toEqual([
        ["4", policy],
        ["0", policy],
      ]);
  });

  test("that is sent twice with an Idempotency-Key starts each item once; another item under the key is a conflict", async () => {
    const options = { headers: { "idempotency-key": "batch-1" } };
    const [first, second] = await Promise.all([
      post([{ message: "a" }, { message: "b" }], options),
      post([{ message: "a" }, { message: "b" }], options),
    ]);
    expect(second.batch_id).toBe(first.batch_id);
    expect(second.items).toEqual(first.items);
    const other = await post([{ message: "a" }, { message: "c" }], options);
    expect(statuses(other)).toEqual(["queued", "refused"]);
    expect(other.items[1]).toMatchObject({ code: "idempotency_conflict" });
  });

  // Fails when the check for the orchestration comes before the look-up of the key: the client would take the batch for refused.
  test("is answered again under its Idempotency-Key after its orchestration was deleted, and another key is a 404", async () => {
    await saveEmptyOrchestration(app.stores.sql, TenantId.parse("default"), "deleted-since");
    const path = "/api/v2/orchestrations/deleted-since/runs:batch";
    const send = (key: string) =>
      app.call("POST", path, { body: { items: [{}, {}] }, headers: { "idempotency-key": key } });
    const first = BatchAccepted.parse(await (await send("deleted-since")).json());
    await app.call("DELETE", "/api/v2/orchestrations/deleted-since?tenant_id=default");
    const again = await send("deleted-since");
    expect([again.status, again.headers.get("idempotent-replayed")]).toEqual([202, "true"]);
    expect(await again.json()).toEqual(first);
    expect((await send("deleted-since-2")).status).toBe(404);
  });

  // Fails when a request that is refused as another one spoils what the first has recorded: an item would be a run and refused.
  test("keeps what the first request recorded when another request comes under its Idempotency-Key", async () => {
    const options = { headers: { "idempotency-key": "batch-2" } };
    await post([{ singleton_key: "two" }]);
    const items = [{ message: "a" }, { message: "b" }, { singleton_key: "two" }, { mesage: "d" }];
    const first = await post(items, options);
    expect(statuses(first)).toEqual(["queued", "queued", "skipped", "refused"]);
    const recorded = await progress(first.status_url);
    expect(recorded).toMatchObject({
      total: 4,
      unsubmitted: 0,
      refused: [{ index: 3 }],
      skipped: [{ index: 2 }],
    });

    const others = items.map((item) => ({ ...item, priority: 5 }));
    expect(statuses(await post(others, options))).toEqual(Array.from({ length: 4 }, () => "refused"));
    expect(await progress(first.status_url)).toEqual(recorded);
    const wrong = await post([{ mesage: "a" }, ...items.slice(1)], options);
    expect(statuses(wrong)).toEqual(["refused", "queued", "skipped", "refused"]);
    expect(await progress(first.status_url)).toEqual(recorded);

    for (const other of [items.slice(1), [...items, {}]]) {
      const answer = await app.call("POST", BATCH, { body: { items: other }, ...options });
      expect([answer.status, await bodyOf(answer)]).toMatchObject([
        409,
        { code: "idempotency_conflict", detail: expect.stringContaining("a batch of 4 items") },
      ]);
    }
    expect(await progress(first.status_url)).toEqual(recorded);
  });

  // Fails when the outcome is read by one statement and written by another: an item that another request skips meanwhile is lost.
  test("keeps what the first request records while another request under its Idempotency-Key ends", async () => {
    const { sql } = app.stores;
    const batch = BatchId.parse(`batch_${"7".repeat(24)}`);
    const record = {
      batch_id: batch,
      tenant_id: TenantId.parse("racing"),
      orchestration_id: "orch_smoke",
      total: 2,
    };
    await insertBatch(sql, record);
    const skipped = [{ index: 1, run_id: newRunId(Date.now()) }];
    const refused = [{ index: 0, code: "invalid", detail: "wrong" }];
    const first = await sql.reserve();
    await first`begin`;
    await saveBatchOutcome(first, batch, { refused: [], skipped, kept: new Set() });
    const second = saveBatchOutcome(sql, batch, { refused, skipped: [], kept: new Set([1]) });
    await untilLockWait(sql);
    await first`commit`;
    first.release();
    await second;
    expect(await readBatch(sql, null, batch)).toMatchObject({ refused, skipped });
  });

  // Fails when an item that a repetition has started is still listed as refused.
  test("starts an item that was refused first when the request is repeated, and no longer lists it", async () => {
    const options = { headers: { "idempotency-key": "batch-3" } };
    const first = await post([{ message: "a" }, { mesage: "b" }], options);
    expect(await progress(first.status_url)).toMatchObject({ refused: [{ index: 1 }], runs: { queued: 1 } });
    expect(statuses(await post([{ message: "a" }, { message: "b" }], options))).toEqual(["queued", "queued"]);
    await app.stores
      .sql`update batches set refused = '[{"index": 1, "code": "invalid", "detail": "late"}]' where batch_id = ${first.batch_id}`;
    expect(await progress(first.status_url)).toMatchObject({
      refused: [],
      runs: { queued: 2 },
      unsubmitted: 0,
    });
  });

  /** Sets the time of a batch, its Idempotency-Key and the keys of its items back. */
  const age = async (batch: string, hours: number) => {
    const { sql } = app.stores;
    const by = sql`created_at - ${hours} * interval '1 hour'`;
    await sql`update batches set created_at = ${by} where batch_id = ${batch}`;
    await sql`
      update idempotency_keys set created_at = ${by}
      where run_id = ${batch} or run_id in (select run_id from runs where batch_id = ${batch})`;
  };
  const runsOf = (batch: z.infer<typeof BatchAccepted>) =>
    batch.items.map((item) => ("run_id" in item ? item.run_id : null));

  // Fails when the id of a batch, or the key of an item, follows from the Idempotency-Key for ever.
  test("is another one, with runs of its own, when its Idempotency-Key is older than 24 hours", async () => {
    const options = { headers: { "idempotency-key": "batch-daily" } };
    const items = [{ message: "a" }, { message: "b" }];
    const batches = [await post(items, options)];
    for (const _day of [2, 3]) {
      const old = batches.at(-1);
      await age(old?.batch_id ?? "", 23.9);
      expect(await post(items, options)).toEqual(old);
      await age(old?.batch_id ?? "", 0.2);
      // Of requests at this moment one begins the new batch, and the others join it.
      const together = await Promise.all([1, 2, 3].map(() => post(items, options)));
      for (const one of together) expect(one).toEqual(together[0]);
      batches.push(...together.slice(0, 1));
    }
    expect(new Set(batches.map(({ batch_id }) => batch_id)).size).toBe(3);
    expect(new Set(batches.flatMap(runsOf)).size).toBe(6);
    for (const { status_url } of batches)
      expect(await progress(status_url)).toMatchObject({ total: 2, runs: { queued: 2 } });
    // Another number of items begins a new batch too.
    await age(batches.at(-1)?.batch_id ?? "", 24.1);
    expect(await post([{ message: "a" }], options)).toMatchObject({ accepted: 1 });
  });

  // Fails when a request that an edge of the version before has answered starts its runs once more.
  test("is that of an edge of an earlier version, which derived the batch from the Idempotency-Key", async () => {
    const options = { headers: { "idempotency-key": "batch-before" } };
    const first = await post([{ message: "a" }], options);
    await age(first.batch_id, 3);
    const { sql } = app.stores;
    await sql`delete from idempotency_keys where run_id = ${first.batch_id}`;
    expect(await post([{ message: "a" }], options)).toEqual(first);
    await age(first.batch_id, 21.1);
    expect((await post([{ message: "a" }], options)).batch_id).not.toBe(first.batch_id);
  });

  test("of another orchestration under its Idempotency-Key is a conflict", async () => {
    const { body } = { body: { items: [{}] } };
    const options = { headers: { "idempotency-key": "batch-other" } };
    await post(body.items, options);
    await saveEmptyOrchestration(app.stores.sql, "", "orch_other");
    const answer = await app.call("POST", BATCH.replace("orch_smoke", "orch_other"), { body, ...options });
    expect([answer.status, await bodyOf(answer)]).toMatchObject([
      409,
      { code: "idempotency_conflict", detail: expect.stringContaining("orch_smoke") },
    ]);
  });

  // Fails when runs that retention has deleted count as items that were never submitted: a client would send the batch again.
  test("shows how many of its runs retention has deleted, and is finished without them", async () => {
    const tenant_id = "forgetful";
    await app.call("POST", "/scale/tenants", { body: { tenant_id, retention: { runs_days: 1 } } });
    const batch = await post([{ message: "a" }, { message: "b" }, { mesage: "c" }], {}, { tenant_id });
    const [old = "", young = ""] = runsOf(batch).map(String);
    for (const run of [old, young]) await app.call("POST", runPath(run, "cancel"));
    await app.stores.sql`
      update runs set queued_at = now() - interval '2 days', ended_at = now() - interval '2 days' where run_id = ${old}`;
    await deleteExpired(app.stores.sql);
    expect(await progress(batch.status_url)).toMatchObject({
      total: 3,
      runs: { cancelled: 1 },
      deleted: 1,
      unsubmitted: 0,
      refused: [{ index: 2 }],
      finished: true,
    });
    expect(await linesOf(batch.results_url)).toMatchObject([{ index: 1, run_id: young }]);
  });

  test("names the run of an item that was skipped for its singleton key", async () => {
    const batch = await post([{ singleton_key: "one" }, { singleton_key: "one" }]);
    expect(batch).toMatchObject({ accepted: 1, skipped: 1 });
    const [started, skipped] = batch.items.map((item) => ("run_id" in item ? item.run_id : null));
    expect(started).toBe(skipped);
    expect(await progress(batch.status_url)).toMatchObject({ unsubmitted: 0, finished: false });
  });

  test("of an unknown orchestration is 404", async () => {
    const response = await app.call("POST", "/api/v2/orchestrations/nowhere/runs:batch", {
      body: { items: [{}] },
    });
    expect(response.status).toBe(404);
  });

  test("does not exist for another tenant", async () => {
    const batch = await post([{}], {}, { tenant_id: "mine" });
    const key = await app.stores.key("theirs");
    for (const url of [batch.status_url, batch.results_url]) {
      expect((await app.call("GET", url, { key })).status).toBe(404);
    }
  });

  test("shows how many items were not submitted when its edge died too early", async () => {
    const batch = await post([{}, {}]);
    for (const item of batch.items) {
      if ("run_id" in item) await app.call("POST", runPath(item.run_id, "cancel"));
    }
    expect(await progress(batch.status_url)).toMatchObject({ runs: { cancelled: 2 }, finished: true });
    await app.stores
      .sql`update batches set total = 5, refused = null, skipped = null where batch_id = ${batch.batch_id}`;
    expect(await progress(batch.status_url)).toMatchObject({ unsubmitted: 3, finished: false });
  });
});

test("the results are one line for each run in the order of the items, with what is known of runs that go on", async () => {
  const batch = await post([{ metadata: { note: "a\u2028b" } }, {}, { message: 1 }]);
  const [first = "", second = ""] = batch.items.flatMap((item) => ("run_id" in item ? [item.run_id] : []));
  const writer = new FakeJournalWriter(app.stores, first);
  await writer.claim();
  await writer.write([{ type: "done" }], { ends: true });
  const metadata = { note: "a\u2028b" };
  expect(await linesOf(batch.results_url)).toMatchObject([
    { index: 0, run_id: first, status: "completed", output: "ok", final_state: {}, metadata },
    { index: 1, run_id: second, status: "queued" },
  ]);
  expect(await progress(batch.status_url)).toMatchObject({
    runs: { completed: 1, queued: 1 },
    finished: false,
  });
});
