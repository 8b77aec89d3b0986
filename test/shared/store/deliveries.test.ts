import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import type { NewRun } from "../../../shared/contracts/run.ts";
import { cancelRuns } from "../../../shared/store/runs/cancel.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import type { EntryColumns } from "../../../shared/store/journal/entry-columns.ts";
import { deleteExpired } from "../../../shared/store/runs/reconcile.ts";
import { retryRun } from "../../../shared/store/runs/retry.ts";
import { claimDeliveries, readEvents } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { countDueDeliveries, releaseDeliveries, saveTry } from "../../../shared/store/webhooks/sending.ts";
import type { DueDelivery } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { endOf, parkOf, waitFor } from "./relatives.ts";
import type { Running } from "./relatives.ts";
import { acme, define, entryOf, globex, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
  await define(store.sql, globex, "orch");
});
afterAll(() => store.close());
beforeEach(() => store.sql`truncate webhook_deliveries`);

const HOOK = "https://hooks.example.com/a?b=c";
const running = (changes: Partial<NewRun> = {}) => store.running({ webhook_url: HOOK, ...changes });
const rows = () => store.sql`select * from webhook_deliveries order by run_id, seq`;
const end = (run: Running, changes: Partial<EntryColumns> = {}) => flush(store.sql, [endOf(run, changes)]);
const claim = async (slots = 32) => (await claimDeliveries(store.sql, slots, [], null)).deliveries;

/** A delivery that is due at once. */
async function due(changes: Partial<NewRun> = {}): Promise<void> {
  await end(await running(changes));
}

/** A delivery to each of `n` receivers, of which the last is due. */
async function receiversOf(tenant: TenantId, n: number): Promise<void> {
  await store.sql`
    insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, status, tokens,
      cost_micro_usd, next_at)
    select 'whd_' || lpad(i::text, 12, '0') || '_1780499750067_1', 'run_' || lpad(i::text, 12, '0') || '_1780499750067', 1,
      ${tenant}, 'orch', 'run.completed', 'https://h' || lpad(i::text, 5, '0') || '.example.com', 'completed', 0, 0,
      case when i = ${n - 1} then now() else now() + interval '1 hour' end
    from generate_series(0, ${n - 1}::int) i`;
}

async function one(): Promise<DueDelivery> {
  const [delivery, ...others] = await claim();
  if (!delivery || others.length > 0) throw new Error("there is not exactly one");
  return delivery;
}

describe("the statement that ends a run", () => {
  // Red when: the delivery is written by a statement of its own, or for runs without a webhook.
  test.each(["completed", "failed", "cancelled"] as const)(
    "as %s leaves one delivery if it has a webhook, and says so",
    async (status) => {
      const [told, silent] = [await running({ webhook_secret: "v1.sealed" }), await store.running()];
      const usage = [
        { call: "m.1", provider: "p", model: "m", input_tokens: 3, output_tokens: 4, cost_micro_usd: 5 },
      ];
      const error = status === "failed" ? '{"code":"c","message":"m","step_id":null}' : null;
      const committed = await flush(store.sql, [
        endOf(told, { status, error, usage }),
        endOf(silent, { status }),
      ]);
      expect(new Map(committed.map((row) => [row.run_id, row.webhook]))).toEqual(
        new Map([
          [told.run_id, true],
          [silent.run_id, false],
        ]),
      );
      const row = await store.row(told.run_id);
      expect(await rows()).toEqual([
        expect.objectContaining({
          delivery_id: told.run_id.replace("run_", "whd_") + "_2",
          run_id: told.run_id,
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

  test("leaves none when its fence does not hold, and no second when it is repeated", async () => {
    const run = await running();
    expect(await end(run, { attempt: 7 })).toEqual([]);
    expect(await rows()).toEqual([]);
    await end(run);
    expect(await end(run)).toEqual([]);
    expect(await rows()).toHaveLength(1);
  });

  // Red when: the edge's end does not write it.
  test("without a worker leaves one as well", async () => {
    const [told, silent] = [await store.accept({ webhook_url: HOOK }), await store.accept()];
    const ends = [told, silent].map((run_id) => ({
      run_id,
      known_seq: 0,
      events: '{"type":"final","response":"x"}\n{"type":"done"}',
      events_n: 2,
      output: "{}",
    }));
    await cancelRuns(store.sql, [], ends);
    await cancelRuns(store.sql, [], ends);
    expect(await rows()).toMatchObject([
      { run_id: told, seq: 2, type: "run.cancelled", status: "cancelled", started_at: null },
    ]);
  });
});

// Red when: any park is told, or none.
test("a pause is told when it waits for a human, and no other entry of a life is", async () => {
  const [asking, timing, stepping] = [await running(), await running(), await running()];
  const committed = await flush(store.sql, [
    parkOf(asking, [waitFor("w")]),
    parkOf(timing, [waitFor("w", { kind: "timer", prompt: null })]),
    entryOf(stepping),
  ]);
  expect(committed.filter(({ webhook }) => webhook).map(({ run_id }) => run_id)).toEqual([asking.run_id]);
  expect(await rows()).toMatchObject([
    { run_id: asking.run_id, seq: 2, type: "run.waiting", status: "paused", ended_at: null },
  ]);
});

// Red when: the body's facts are read from the run when it is sent.
test("each end of a run that is retried has its own, which keeps what that end was", async () => {
  const run = await running();
  await end(run, { status: "failed", error: '{"code":"c","message":"m","step_id":null}' });
  const again = { run_id: run.run_id, tenant_id: acme, known_seq: 2, output: '{"keep_seq":0}', event: "{}" };
  expect(await retryRun(store.sql, again)).not.toBeNull();
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

describe("a claim", () => {
  test("brings what is due, and the name of its entry, and lends it for longer than a request takes", async () => {
    await due({ webhook_secret: "v1.sealed" });
    const delivery = await one();
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
    const [row] = await store.sql<{ lease: number }[]>`
      select extract(epoch from next_at - now())::float8 as lease from webhook_deliveries`;
    expect(row?.lease).toBeGreaterThan(15);
    expect(await claim()).toEqual([]);
  });

  // Red when: the rows are not locked, or the lease is not asked for again once they are.
  test("gives each delivery to one of many claimers", async () => {
    for (let i = 0; i < 12; i++) await due({ webhook_url: `https://h${i}.example.com` });
    const claims = await Promise.all(Array.from({ length: 8 }, () => claim()));
    const ids = claims.flat().map(({ delivery_id }) => delivery_id);
    expect(new Set(ids).size).toBe(ids.length);
    // Who came second to a row may have gone without another that he could have had.
    ids.push(...(await claim()).map(({ delivery_id }) => delivery_id));
    expect([ids.length, new Set(ids).size]).toEqual([12, 12]);
  });

  // Red when: it takes in the order of time alone.
  test("takes receivers in turns: one that much waits for holds no others back", async () => {
    for (let i = 0; i < 30; i++) await due({ webhook_url: "https://slow.example.com" });
    await due({ webhook_url: "https://late.example.com" });
    await due({ webhook_url: "https://late.example.com", tenant_id: globex });
    const hosts = (await claim(6)).map(({ tenant_id, host }) => `${tenant_id} ${host}`).toSorted();
    expect(hosts).toEqual([
      "acme late.example.com",
      ...Array.from({ length: 4 }, () => "acme slow.example.com"),
      "globex late.example.com",
    ]);
  });

  // Red when: `busy` is not counted.
  test("leaves a receiver alone that has enough of the worker, and a tenant that has", async () => {
    await due({ webhook_url: "https://slow.example.com" });
    await due({ webhook_url: "https://other.example.com" });
    await due({ webhook_url: "https://other.example.com", tenant_id: globex });
    const slow = { tenant_id: acme, host: "slow.example.com" };
    const claimWith = (n: number) => claimDeliveries(store.sql, 32, [{ ...slow, n }], null);
    expect((await claimWith(32)).deliveries.map(({ tenant_id }) => tenant_id)).toEqual([globex]);
    expect((await claimWith(16)).deliveries.map(({ host }) => host)).toEqual(["other.example.com"]);
    expect((await claimWith(15)).deliveries.map(({ host }) => host)).toEqual(["slow.example.com"]);
  });

  // Red when: a tenant that may have no more takes the places of a look, a receiver each.
  test("does not go through the receivers of a tenant that has enough", async () => {
    await receiversOf(acme, 300);
    await due({ tenant_id: globex });
    const busy = [1, 2].map((i) => ({ tenant_id: acme, host: `busy${i}.example.com`, n: 16 }));
    const { deliveries, after } = await claimDeliveries(store.sql, 32, busy, null);
    expect(deliveries.map(({ tenant_id }) => tenant_id)).toEqual([globex]);
    expect(after).toBeNull();
    const behind = { tenant_id: acme, host: "h00100.example.com" };
    const second = await claimDeliveries(store.sql, 32, busy, behind);
    expect(second).toMatchObject({ deliveries: [], after: null });
  });

  // Red when: what another claimer has hold of is told as nothing being due.
  test("says what it missed because another has it, and what else there is stays due", async () => {
    await due();
    const holder = await store.sql.reserve();
    await holder`begin`;
    await holder`select from webhook_deliveries for update`;
    expect(await claimDeliveries(store.sql, 32, [], null)).toMatchObject({ deliveries: [], missed: 1 });
    await holder`rollback`;
    holder.release();
    expect(await claimDeliveries(store.sql, 32, [], null)).toMatchObject({ deliveries: [{}], missed: 0 });
  });

  // Red when: what cannot be signed is claimed all the same.
  test("without a key to sign with leaves what has a secret", async () => {
    await due({ webhook_secret: "v1.sealed" });
    await due();
    const unsigned = await claimDeliveries(store.sql, 32, [], null, false);
    expect(unsigned.deliveries.map(({ secret }) => secret)).toEqual([null]);
    expect((await claim()).map(({ secret }) => secret)).toEqual(["v1.sealed"]);
  });

  // Red when: only a written outcome ends a delivery.
  test("ends what was tried and has been over for an hour, and not what nobody has tried", async () => {
    for (let i = 0; i < 3; i++) await due();
    const [dead, late, untried] = (await rows()).map((row) => String(row["delivery_id"]));
    await store.sql`update webhook_deliveries set expires_at = now() - interval '61 minutes', tries = 4`;
    await store.sql`update webhook_deliveries set tries = 0 where delivery_id = ${untried ?? ""}`;
    await store.sql`update webhook_deliveries set expires_at = now() - interval '59 minutes'
      where delivery_id = ${late ?? ""}`;
    const { deliveries, expired } = await claimDeliveries(store.sql, 32, [], null);
    expect(new Set(deliveries.map(({ delivery_id }) => delivery_id))).toEqual(new Set([late, untried]));
    expect(expired).toBe(1);
    expect((await rows()).find((row) => row["delivery_id"] === dead)).toMatchObject({
      outcome: "expired",
      next_at: null,
      done_at: expect.any(Date),
      sending: false,
      last_error: "no outcome of a try was ever written",
    });
  });

  // Red when: a look begins at the first receiver each time.
  test("goes round more receivers than it looks at", async () => {
    await receiversOf(acme, 300);
    const first = await claimDeliveries(store.sql, 32, [], null);
    expect(first).toMatchObject({ deliveries: [], after: { tenant_id: acme, host: "h00199.example.com" } });
    const second = await claimDeliveries(store.sql, 32, [], first.after);
    expect(second.deliveries.map(({ host }) => host)).toEqual(["h00299.example.com"]);
    expect(second.after).toBeNull();
  });
});

describe("a try", () => {
  const result = { outcome: null, retry_ms: 60_000, status: 503, error: "the receiver answered HTTP 503" };

  test("that was taken is done, and one that was refused too", async () => {
    for (const outcome of ["delivered", "rejected"] as const) {
      await due();
      const { delivery_id, tries } = await one();
      const said = { delivery_id, tries, outcome, retry_ms: 0, status: 200, error: null };
      expect(await saveTry(store.sql, said)).toBe(outcome);
      expect(await saveTry(store.sql, said)).toBe("lost");
    }
    expect(await rows()).toMatchObject([
      { next_at: null, done_at: expect.any(Date), sending: false, last_status: 200 },
      { next_at: null, done_at: expect.any(Date), sending: false },
    ]);
    expect(await claim()).toEqual([]);
  });

  test("that failed is made again when its wait is over", async () => {
    await due();
    const { delivery_id, tries } = await one();
    expect(await saveTry(store.sql, { delivery_id, tries, ...result })).toBe("pending");
    expect(await claim()).toEqual([]);
    expect(await rows()).toMatchObject([{ failures: 1, last_status: 503, last_error: result.error }]);
    await store.sql`update webhook_deliveries set next_at = now()`;
    expect(await one()).toMatchObject({ delivery_id, tries: 2, failures: 1 });
  });

  // Red when: the number of the try is not asked for.
  test("of a worker whose lease lapsed writes nothing over another's", async () => {
    await due();
    const { delivery_id, tries } = await one();
    await store.sql`update webhook_deliveries set next_at = now()`;
    const second = await one();
    expect(await saveTry(store.sql, { delivery_id, tries, ...result })).toBe("lost");
    await releaseDeliveries(store.sql, [{ delivery_id, tries }]);
    expect(await claim()).toEqual([]);
    expect(await saveTry(store.sql, { ...second, ...result, outcome: "delivered" })).toBe("delivered");
  });

  // Red when: a wait reaches beyond the delivery's time, or failures go on for ever.
  test("is the last when the delivery's time is over, whatever wait was asked for", async () => {
    await due();
    const first = await one();
    expect(await saveTry(store.sql, { ...first, ...result, retry_ms: 10 * 86_400_000 })).toBe("pending");
    const [row] = await rows();
    expect(row?.["next_at"]).toEqual(row?.["expires_at"]);
    await store.sql`update webhook_deliveries set next_at = now(), expires_at = now()`;
    expect(await saveTry(store.sql, { ...(await one()), ...result })).toBe("expired");
    expect(await rows()).toMatchObject([{ outcome: "expired", next_at: null, last_error: result.error }]);
  });

  // Red when: there is a result that the statement cannot write: its delivery would be sent again for ever.
  test("can be written whatever it came to", async () => {
    await due();
    const odd = { ...result, retry_ms: 1e20, error: "nul \0" };
    expect(await saveTry(store.sql, { ...(await one()), ...odd })).toBe("pending");
    const [row] = await rows();
    expect(row?.["next_at"]).toEqual(row?.["expires_at"]);
  });

  test("that is given back is due at once", async () => {
    await due();
    await releaseDeliveries(store.sql, [await one()]);
    expect(await one()).toMatchObject({ tries: 2, failures: 0 });
  });
});

test("what is due is counted, and what has been for a minute", async () => {
  for (let i = 0; i < 3; i++) await due();
  await store.sql`update webhook_deliveries set next_at = now() - interval '2 minutes' where run_id = (
    select min(run_id) from webhook_deliveries)`;
  expect(await countDueDeliveries(store.sql)).toEqual({ due: 3, overdue: 1 });
});

// Red when: what is still to be sent is forgotten, or what is done is kept for ever.
test("what has been done for 30 days is forgotten", async () => {
  for (let i = 0; i < 3; i++) await due();
  const [old, young, open] = (await rows()).map((row) => String(row["delivery_id"]));
  const done = store.sql`done_at = now(), outcome = 'delivered', next_at = null`;
  await store.sql`update webhook_deliveries set created_at = now() - interval '31 days'`;
  await store.sql`update webhook_deliveries set ${done} where delivery_id <> ${open ?? ""}`;
  await store.sql`update webhook_deliveries set done_at = created_at where delivery_id = ${old ?? ""}`;
  expect(await deleteExpired(store.sql)).toBe(false);
  expect((await rows()).map((row) => row["delivery_id"])).toEqual([young, open]);
});

// Red when: a page is all that is ever deleted, however much more there is.
test("who forgets what is old says when there is more of it", async () => {
  await store.sql`
    insert into idempotency_keys (tenant_id, key, request_hash, run_id, created_at)
    select 'acme', 'k' || i, 'h', 'run_1', now() - interval '25 hours' from generate_series(1, 10001) i`;
  expect(await deleteExpired(store.sql)).toBe(true);
  expect(await deleteExpired(store.sql)).toBe(false);
  expect(await store.sql`select from idempotency_keys where request_hash = 'h'`).toHaveLength(0);
});

// Red when: the constraint is dropped.
test("a delivery that is not done cannot be without a wake-up", async () => {
  await due();
  await expect(store.sql`update webhook_deliveries set next_at = null`).rejects.toThrow(
    "awake_until_it_is_done",
  );
});
