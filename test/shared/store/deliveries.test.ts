import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import type { NewRun } from "../../../shared/contracts/run.ts";
import { cancelRuns } from "../../../shared/store/runs/mark-cancelled.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import type { EntryColumns } from "../../../shared/store/journal/entry-columns.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { retryRun } from "../../../shared/store/runs/requeue-for-retry.ts";
import { claimDeliveries } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { readEvents } from "../../../shared/store/webhooks/read-events.ts";
import {
  countDueDeliveries,
  releaseDeliveries,
  saveDeliveryTry,
} from "../../../shared/store/webhooks/delivery-outcomes.ts";
import type { DueDelivery } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { endEntry, parkEntry, humanWait, startChild } from "./family-fixture.ts";
import type { StartedRun } from "./family-fixture.ts";
import { acme, saveEmptyOrchestration, stepEntry, globex, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
});
afterAll(() => store.close());
beforeEach(() => store.sql`truncate webhook_deliveries, webhook_endpoints`);

const HOOK = "https://hooks.example.com/a?b=c";
const startRun = (changes: Partial<NewRun> = {}) => store.startRun({ webhook_url: HOOK, ...changes });
const rows = () => store.sql`select * from webhook_deliveries order by run_id, seq`;
const end = (run: StartedRun, changes: Partial<EntryColumns> = {}) =>
  flush(store.sql, [endEntry(run, changes)]);
const claim = async (slots = 32) => (await claimDeliveries(store.sql, slots, [], null)).deliveries;

/** Ends a run with a webhook, which leaves a delivery that is due now. */
async function addDelivery(changes: Partial<NewRun> = {}): Promise<void> {
  await end(await startRun(changes));
}

/** Adds a delivery to each of `n` receivers; only that of the last one is due. */
async function addReceivers(tenant: TenantId, n: number): Promise<void> {
  await store.sql`
    insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, status, tokens,
      cost_micro_usd, next_at)
    select 'whd_' || lpad(i::text, 12, '0') || '_1780499750067_1', 'run_' || lpad(i::text, 12, '0') || '_1780499750067', 1,
      ${tenant}, 'orch', 'run.completed', 'https://h' || lpad(i::text, 5, '0') || '.example.com', 'completed', 0, 0,
      case when i = ${n - 1} then now() else now() + interval '1 hour' end
    from generate_series(0, ${n - 1}::int) i`;
}

/** Claims the only delivery that is due. */
async function claimOne(): Promise<DueDelivery> {
  const [delivery, ...others] = await claim();
  if (!delivery || others.length > 0) throw new Error("not exactly one delivery is due");
  return delivery;
}

describe("the statement that ends a run", () => {
  // Fails when a separate statement writes the delivery, or when a run without a webhook gets a delivery.
  test.each(["completed", "failed", "cancelled"] as const)(
    "as %s inserts one delivery if the run has a webhook, and reports it",
    async (status) => {
      const [withWebhook, without] = [
        await startRun({ webhook_secret: "v1.sealed" }),
        await store.startRun(),
      ];
      const usage = [
        { call: "m.1", provider: "p", model: "m", input_tokens: 3, output_tokens: 4, cost_micro_usd: 5 },
      ];
      const error = status === "failed" ? '{"code":"c","message":"m","step_id":null}' : null;
      const committed = await flush(store.sql, [
        endEntry(withWebhook, { status, error, usage }),
        endEntry(without, { status }),
      ]);
      expect(new Map(committed.map((row) => [row.run_id, row.webhook]))).toEqual(
        new Map([
          [withWebhook.run_id, true],
          [without.run_id, false],
        ]),
      );
      const row = await store.row(withWebhook.run_id);
      expect(await rows()).toEqual([
        expect.objectContaining({
          delivery_id: withWebhook.run_id.replace("run_", "whd_") + "_2",
          run_id: withWebhook.run_id,
          seq: 2,
          tenant_id: acme,
          orchestration_id: "orch",
          type: `run.${status}`,
          url: HOOK,
          host: "hooks.example.com",
          secret: "v1.sealed",
          status,
          tokens: "7",
          cost_micro_usd: "5",
          started_at: row["started_at"],
          ended_at: row["ended_at"],
          error,
          tries: 0,
          done_at: null,
          outcome: null,
        }),
      ]);
    },
  );

  test("inserts no delivery when its fence does not hold, and no second one when it is repeated", async () => {
    const run = await startRun();
    expect(await end(run, { attempt: 7 })).toEqual([]);
    expect(await rows()).toEqual([]);
    await end(run);
    expect(await end(run)).toEqual([]);
    expect(await rows()).toHaveLength(1);
  });

  // Fails when only a worker's end inserts a delivery.
  test("inserts a delivery also when a cancel ends the run", async () => {
    const [withWebhook, without] = [await store.accept({ webhook_url: HOOK }), await store.accept()];
    const ends = [withWebhook, without].map((run_id) => ({
      run_id,
      known_seq: 0,
      events: '{"type":"final","response":"x"}\n{"type":"done"}',
      events_n: 2,
      output: "{}",
    }));
    await cancelRuns(store.sql, [], ends);
    await cancelRuns(store.sql, [], ends);
    expect(await rows()).toMatchObject([
      { run_id: withWebhook, seq: 2, type: "run.cancelled", status: "cancelled", started_at: null },
    ]);
  });
});

// Fails when every park inserts a delivery, or none does.
test("a park for a human inserts a delivery, and a park for a timer and a step insert none", async () => {
  const [asking, timing, stepping] = [await startRun(), await startRun(), await startRun()];
  const committed = await flush(store.sql, [
    parkEntry(asking, [humanWait("w")]),
    parkEntry(timing, [humanWait("w", { kind: "timer", prompt: null })]),
    stepEntry(stepping),
  ]);
  expect(committed.filter(({ webhook }) => webhook).map(({ run_id }) => run_id)).toEqual([asking.run_id]);
  expect(await rows()).toMatchObject([
    { run_id: asking.run_id, seq: 2, type: "run.waiting", status: "paused", ended_at: null },
  ]);
});

// Fails when the client of a run with a webhook does not learn that a child of a child waits for a person.
test("a child's question goes to the webhook of the run at the top, once to each endpoint, and its end to none but these", async () => {
  const top = await startRun({ webhook_secret: "v1.sealed" });
  const middle = await startChild(store, top.run_id, "w");
  const child = await startChild(store, middle.run_id, "w");
  const lone = await startChild(store, (await store.startRun()).run_id, "w");
  await store.sql`
    insert into webhook_endpoints (tenant_id, endpoint_id, url, secret, events, disable_after_days)
    values (${acme}, 'all', 'https://all.example.com/', 'v1.of-endpoint', '{run.waiting,run.completed}', 5)`;
  const asked = await flush(store.sql, [
    parkEntry(child, [humanWait("w")]),
    parkEntry(lone, [humanWait("w")]),
  ]);
  expect(asked.map(({ webhook }) => webhook)).toEqual([true, true]);
  const { run_id } = child;
  expect(await rows()).toEqual(
    expect.arrayContaining([
      expect.objectContaining({
        run_id,
        endpoint_id: null,
        url: HOOK,
        secret: "v1.sealed",
        root_run_id: top.run_id,
      }),
      expect.objectContaining({ run_id, endpoint_id: "all", root_run_id: top.run_id, type: "run.waiting" }),
      expect.objectContaining({ run_id: lone.run_id, endpoint_id: "all" }),
    ]),
  );
  expect(await rows()).toHaveLength(3);
  expect((await claim()).find(({ endpoint_id }) => endpoint_id === null)).toMatchObject({
    root_run_id: top.run_id,
  });
  await store.sql`truncate webhook_deliveries`;
  await end(middle);
  expect(await rows()).toMatchObject([{ run_id: middle.run_id, endpoint_id: "all", root_run_id: null }]);
});

// Fails when the group of an escalation gets no delivery, or when a separate statement inserts the delivery.
test("the park with which a question goes to a further group inserts a delivery of its own", async () => {
  const run = await startRun();
  const question = { approvers: ["ann"], deadline_ms: 60_000 };
  await flush(store.sql, [parkEntry(run, [humanWait("w", question)])]);
  await store.sql`update runs set wake_at = now() where run_id = ${run.run_id}`;
  const claimed = { ...(await store.claim(run.owner, run.run_id)), owner: run.owner };
  const escalated = parkEntry(claimed, [
    humanWait("w", { ...question, approvers: ["ann", "bob"], level: 1 }),
  ]);
  await flush(store.sql, [escalated]);
  // The reply was lost: the worker repeats the flush.
  await flush(store.sql, [escalated]);
  const seqs = (await rows()).map(({ run_id, seq, type }) => [run_id === run.run_id, seq, type]);
  expect(seqs).toEqual([
    [true, 2, "run.waiting"],
    [true, 4, "run.waiting"],
  ]);
});

// Fails when the parts of the body are read from the run at the time of sending.
test("each end of a run that is retried has a delivery of its own, which keeps the state of that end", async () => {
  const run = await startRun();
  await end(run, { status: "failed", error: '{"code":"c","message":"m","step_id":null}' });
  const rewind = { run_id: run.run_id, tenant_id: acme, known_seq: 2, output: '{"keep_seq":0}', event: "{}" };
  expect(await retryRun(store.sql, rewind)).not.toBeNull();
  const second = await store.claim(run.owner, run.run_id);
  await end({ ...second, owner: run.owner });
  expect(await rows()).toMatchObject([
    { seq: 2, type: "run.failed", error: expect.stringContaining('"c"'), ended_at: expect.any(Date) },
    { seq: 5, type: "run.completed", error: null, ended_at: expect.any(Date) },
  ]);
  const sent = (await claim()).toSorted((a, b) => (a.type < b.type ? -1 : 1));
  expect(sent).toMatchObject([
    { type: "run.completed", status: "completed", error: null },
    { type: "run.failed", status: "failed", error: expect.stringContaining('"c"') },
  ]);
});

describe("a claim of deliveries", () => {
  test("returns the due ones with the run and number of their entry, and leases them for longer than a request takes", async () => {
    await addDelivery({ webhook_secret: "v1.sealed" });
    const delivery = await claimOne();
    expect(delivery).toMatchObject({
      url: HOOK,
      secret: "v1.sealed",
      tries: 1,
      failures: 0,
    });
    expect(delivery).not.toHaveProperty("events");
    const events = '{"type":"step_start"}\n{"type":"step_complete"}';
    expect(await readEvents(store.sql, delivery.run_id, delivery.seq)).toBe(events);
    expect(await readEvents(store.sql, delivery.run_id, delivery.seq + 1)).toBeNull();
    // A worker sends 64 deliveries at once: no event lines over 1 MiB are read for one.
    await store.sql`update journal set events = repeat('x', 1024 * 1024 + 1) where run_id = ${delivery.run_id}`;
    expect(await readEvents(store.sql, delivery.run_id, delivery.seq)).toBeNull();
    const [row] = await store.sql<{ lease: number }[]>`
      select extract(epoch from next_at - now())::float8 as lease from webhook_deliveries`;
    expect(row?.lease).toBeGreaterThan(15);
    expect(await claim()).toEqual([]);
  });

  // Fails when the rows are not locked, or when their lease is not compared again under the lock.
  test("gives each delivery to one of many claimers", async () => {
    for (let i = 0; i < 12; i++) await addDelivery({ webhook_url: `https://h${i}.example.com` });
    const claims = await Promise.all(Array.from({ length: 8 }, () => claim()));
    const ids = claims.flat().map(({ delivery_id }) => delivery_id);
    expect(new Set(ids).size).toBe(ids.length);
    // A claimer that found a row locked may have left another due one, so a last claim takes the rest.
    ids.push(...(await claim()).map(({ delivery_id }) => delivery_id));
    expect([ids.length, new Set(ids).size]).toEqual([12, 12]);
  });

  // Fails when a claim takes deliveries in the order of their time alone.
  test("lets receivers take turns: a receiver with many deliveries does not delay the others", async () => {
    for (let i = 0; i < 30; i++) await addDelivery({ webhook_url: "https://slow.example.com" });
    await addDelivery({ webhook_url: "https://late.example.com" });
    await addDelivery({ webhook_url: "https://late.example.com", tenant_id: globex });
    const hosts = (await claim(6)).map(({ tenant_id, host }) => `${tenant_id} ${host}`).toSorted();
    expect(hosts).toEqual([
      "acme late.example.com",
      ...Array.from({ length: 4 }, () => "acme slow.example.com"),
      "globex late.example.com",
    ]);
  });

  // Fails when `busy` is not counted.
  test("leaves out a receiver, and a tenant, that has its maximum of open requests", async () => {
    await addDelivery({ webhook_url: "https://slow.example.com" });
    await addDelivery({ webhook_url: "https://other.example.com" });
    await addDelivery({ webhook_url: "https://other.example.com", tenant_id: globex });
    const slow = { tenant_id: acme, host: "slow.example.com" };
    const claimWith = (n: number) => claimDeliveries(store.sql, 32, [{ ...slow, n }], null);
    expect((await claimWith(32)).deliveries.map(({ tenant_id }) => tenant_id)).toEqual([globex]);
    expect((await claimWith(16)).deliveries.map(({ host }) => host)).toEqual(["other.example.com"]);
    expect((await claimWith(15)).deliveries.map(({ host }) => host)).toEqual(["slow.example.com"]);
  });

  // Fails when the receivers of a tenant at its maximum use up the receivers that one claim examines.
  test("skips the receivers of a tenant that has its maximum of open requests", async () => {
    await addReceivers(acme, 300);
    await addDelivery({ tenant_id: globex });
    const busy = [1, 2].map((i) => ({ tenant_id: acme, host: `busy${i}.example.com`, n: 16 }));
    const { deliveries, after } = await claimDeliveries(store.sql, 32, busy, null);
    expect(deliveries.map(({ tenant_id }) => tenant_id)).toEqual([globex]);
    expect(after).toBeNull();
    const afterReceiver = { tenant_id: acme, host: "h00100.example.com" };
    const second = await claimDeliveries(store.sql, 32, busy, afterReceiver);
    expect(second).toMatchObject({ deliveries: [], after: null });
  });

  // Fails when deliveries that another claimer has locked are not reported as missed.
  test("reports deliveries that another claimer has locked as missed; they stay due", async () => {
    await addDelivery();
    const holder = await store.sql.reserve();
    await holder`begin`;
    await holder`select from webhook_deliveries for update`;
    expect(await claimDeliveries(store.sql, 32, [], null)).toMatchObject({ deliveries: [], missed: 1 });
    await holder`rollback`;
    holder.release();
    expect(await claimDeliveries(store.sql, 32, [], null)).toMatchObject({ deliveries: [{}], missed: 0 });
  });

  // Fails when a worker claims deliveries that it cannot sign.
  test("of a worker without a key to open secrets leaves out deliveries with a secret", async () => {
    await addDelivery({ webhook_secret: "v1.sealed" });
    await addDelivery();
    const unsigned = await claimDeliveries(store.sql, 32, [], null, false);
    expect(unsigned.deliveries.map(({ secret }) => secret)).toEqual([null]);
    expect((await claim()).map(({ secret }) => secret)).toEqual(["v1.sealed"]);
  });

  // Fails when a delivery ends only by a saved result.
  test("expires deliveries that were tried and are an hour past their time, and none that were never tried", async () => {
    for (let i = 0; i < 3; i++) await addDelivery();
    const [expiredId, late, untried] = (await rows()).map((row) => String(row["delivery_id"]));
    await store.sql`update webhook_deliveries set expires_at = now() - interval '61 minutes', tries = 4`;
    await store.sql`update webhook_deliveries set tries = 0 where delivery_id = ${untried ?? ""}`;
    await store.sql`update webhook_deliveries set expires_at = now() - interval '59 minutes'
      where delivery_id = ${late ?? ""}`;
    const { deliveries, expired } = await claimDeliveries(store.sql, 32, [], null);
    expect(new Set(deliveries.map(({ delivery_id }) => delivery_id))).toEqual(new Set([late, untried]));
    expect(expired).toBe(1);
    expect((await rows()).find((row) => row["delivery_id"] === expiredId)).toMatchObject({
      outcome: "expired",
      next_at: null,
      done_at: expect.any(Date),
      sending: false,
      last_error: "no outcome of a try was ever written",
    });
  });

  // Fails when each claim begins at the first receiver.
  test("goes on after the last receiver that the one before examined", async () => {
    await addReceivers(acme, 300);
    const first = await claimDeliveries(store.sql, 32, [], null);
    expect(first).toMatchObject({ deliveries: [], after: { tenant_id: acme, host: "h00199.example.com" } });
    const second = await claimDeliveries(store.sql, 32, [], first.after);
    expect(second.deliveries.map(({ host }) => host)).toEqual(["h00299.example.com"]);
    expect(second.after).toBeNull();
  });
});

describe("a try of a delivery", () => {
  const result = { outcome: null, retry_ms: 60_000, status: 503, error: "the receiver answered HTTP 503" };

  test("that delivers, or is rejected, gives the delivery its outcome", async () => {
    for (const outcome of ["delivered", "rejected"] as const) {
      await addDelivery();
      const { delivery_id, tries } = await claimOne();
      const tried = { delivery_id, tries, outcome, retry_ms: 0, status: 200, error: null };
      expect(await saveDeliveryTry(store.sql, tried)).toBe(outcome);
      expect(await saveDeliveryTry(store.sql, tried)).toBe("superseded");
    }
    expect(await rows()).toMatchObject([
      { next_at: null, done_at: expect.any(Date), sending: false, last_status: 200 },
      { next_at: null, done_at: expect.any(Date), sending: false },
    ]);
    expect(await claim()).toEqual([]);
  });

  test("that fails is followed by another one after the wait", async () => {
    await addDelivery();
    const { delivery_id, tries } = await claimOne();
    expect(await saveDeliveryTry(store.sql, { delivery_id, tries, ...result })).toBe("pending");
    expect(await claim()).toEqual([]);
    expect(await rows()).toMatchObject([{ failures: 1, last_status: 503, last_error: result.error }]);
    await store.sql`update webhook_deliveries set next_at = now()`;
    expect(await claimOne()).toMatchObject({ delivery_id, tries: 2, failures: 1 });
  });

  // Fails when the statement does not compare the number of the try.
  test("by a worker whose lease lapsed changes nothing of another worker's try", async () => {
    await addDelivery();
    const { delivery_id, tries } = await claimOne();
    await store.sql`update webhook_deliveries set next_at = now()`;
    const second = await claimOne();
    expect(await saveDeliveryTry(store.sql, { delivery_id, tries, ...result })).toBe("superseded");
    await releaseDeliveries(store.sql, [{ delivery_id, tries }]);
    expect(await claim()).toEqual([]);
    expect(await saveDeliveryTry(store.sql, { ...second, ...result, outcome: "delivered" })).toBe(
      "delivered",
    );
  });

  // Fails when a wait ends after the delivery's `expires_at`, or when failures never expire it.
  test("is the last one at the delivery's expires_at, whatever wait the receiver asked for", async () => {
    await addDelivery();
    const first = await claimOne();
    expect(await saveDeliveryTry(store.sql, { ...first, ...result, retry_ms: 10 * 86_400_000 })).toBe(
      "pending",
    );
    const [row] = await rows();
    expect(row?.["next_at"]).toEqual(row?.["expires_at"]);
    await store.sql`update webhook_deliveries set next_at = now(), expires_at = now()`;
    expect(await saveDeliveryTry(store.sql, { ...(await claimOne()), ...result })).toBe("expired");
    expect(await rows()).toMatchObject([{ outcome: "expired", next_at: null, last_error: result.error }]);
  });

  // Fails when there is a result that the statement cannot save: its delivery would be sent for ever.
  test("can be saved whatever its result is", async () => {
    await addDelivery();
    const extreme = { ...result, retry_ms: 1e20, error: "nul \0" };
    expect(await saveDeliveryTry(store.sql, { ...(await claimOne()), ...extreme })).toBe("pending");
    const [row] = await rows();
    expect(row?.["next_at"]).toEqual(row?.["expires_at"]);
  });

  test("that is released is due at once", async () => {
    await addDelivery();
    await releaseDeliveries(store.sql, [await claimOne()]);
    expect(await claimOne()).toMatchObject({ tries: 2, failures: 0 });
  });
});

test("due deliveries are counted, and of those the ones that have been due for a minute", async () => {
  for (let i = 0; i < 3; i++) await addDelivery();
  await store.sql`update webhook_deliveries set next_at = now() - interval '2 minutes' where run_id = (
    select min(run_id) from webhook_deliveries)`;
  expect(await countDueDeliveries(store.sql)).toEqual({ due: 3, overdue: 1 });
});

// Fails when pending deliveries are deleted, or when done ones are never deleted.
test("a delivery is deleted 30 days after it has its outcome", async () => {
  for (let i = 0; i < 3; i++) await addDelivery();
  const [old, recent, pending] = (await rows()).map((row) => String(row["delivery_id"]));
  const done = store.sql`done_at = now(), outcome = 'delivered', next_at = null`;
  await store.sql`update webhook_deliveries set created_at = now() - interval '31 days'`;
  await store.sql`update webhook_deliveries set ${done} where delivery_id <> ${pending ?? ""}`;
  await store.sql`update webhook_deliveries set done_at = created_at where delivery_id = ${old ?? ""}`;
  expect(await deleteExpired(store.sql)).toBe(false);
  expect((await rows()).map((row) => row["delivery_id"])).toEqual([recent, pending]);
});

// Fails when only one batch is ever deleted.
test("retention reports that more rows are left after a full batch", async () => {
  await store.sql`
    insert into idempotency_keys (tenant_id, key, request_hash, run_id, created_at)
    select 'acme', 'k' || i, 'h', 'run_1', now() - interval '25 hours' from generate_series(1, 10001) i`;
  expect(await deleteExpired(store.sql)).toBe(true);
  expect(await deleteExpired(store.sql)).toBe(false);
  expect(await store.sql`select from idempotency_keys where request_hash = 'h'`).toHaveLength(0);
});

// Fails when the constraint is dropped.
test("a delivery that is not done cannot be without a wake-up", async () => {
  await addDelivery();
  await expect(store.sql`update webhook_deliveries set next_at = null`).rejects.toThrow(
    "awake_until_it_is_done",
  );
});
