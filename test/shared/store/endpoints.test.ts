import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { SessionId, newRunId } from "../../../shared/contracts/ids.ts";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import { EndpointEvent, MAX_ENDPOINTS } from "../../../shared/contracts/webhook-endpoint.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { cancelRuns } from "../../../shared/store/runs/mark-cancelled.ts";
import { claimDeliveries } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { saveDeliveryTry } from "../../../shared/store/webhooks/delivery-outcomes.ts";
import type { TryResult } from "../../../shared/store/webhooks/delivery-outcomes.ts";
import { redeliver } from "../../../shared/store/webhooks/delivery-rows.ts";
import {
  deleteEndpoint,
  enableEndpoint,
  insertTestDelivery,
  readEndpoint,
  rotateSecret,
  saveEndpoint,
} from "../../../shared/store/webhooks/endpoints.ts";
import type { EndpointToSave } from "../../../shared/store/webhooks/endpoints.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { endEntry, humanWait, parkEntry } from "./family-fixture.ts";
import { acme, globex, openStore, saveEmptyOrchestration, stepEntry } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`truncate webhook_deliveries, webhook_endpoints`;
});

const URL_A = "https://a.example.com/hook";
const TO_SAVE: EndpointToSave = {
  url: URL_A,
  description: "",
  events: EndpointEvent.options,
  disable_after_days: 5,
  enabled: null,
  secret: null,
  new_secret: "v1.sealed",
};
const save = (id: string, changes: Partial<EndpointToSave> = {}, tenant: TenantId = acme) =>
  saveEndpoint(store.sql, tenant, id, { ...TO_SAVE, ...changes });
const deliveries = () =>
  store.sql`select delivery_id, type, endpoint_id, url, outcome from webhook_deliveries order by delivery_id`;
const failingSince = (days: number) =>
  store.sql`update webhook_endpoints set failing_since = now() - ${days} * interval '1 day' - interval '1 second'`;
const claim = async () => (await claimDeliveries(store.sql, 32, [], null)).deliveries;

/** Ends a run of acme, claims its only delivery, and saves the result of the try. */
async function tryOne(result: Partial<TryResult>): Promise<void> {
  await flush(store.sql, [endEntry(await store.startRun())]);
  const [due] = await claim();
  if (!due) throw new Error("nothing is due");
  const failed = { outcome: null, retry_ms: 3_600_000, status: 500, error: "no" };
  await saveDeliveryTry(store.sql, {
    delivery_id: due.delivery_id,
    tries: due.tries,
    ...failed,
    ...result,
  });
}

// Fails when endpoints are counted before the lock: those beyond the most would be created, and get no delivery.
test(`of ${MAX_ENDPOINTS} endpoints none is one too many, however many are created at the same moment`, async () => {
  for (let i = 1; i < MAX_ENDPOINTS; i++) await save(`e${i}`);
  const first = await store.sql.reserve();
  await first`begin`;
  expect(await saveEndpoint(first, acme, "first", TO_SAVE)).not.toBeNull();
  const second = saveEndpoint(store.sql, acme, "second", TO_SAVE);
  await Promise.race([untilLockWait(store.sql), second]);
  await first`commit`;
  first.release();
  expect(await second).toBeNull();
});

describe("the statement that ends or pauses a run", () => {
  // Fails when the filter, the tenant or the switch of an endpoint is not looked at, or the run's own webhook is lost.
  test("inserts a delivery for each enabled endpoint of its tenant that asks for the event, and the run's own", async () => {
    await save("all");
    await save("failures", { events: ["run.failed", "chat.completed"] });
    await save("off", { enabled: false });
    await save("theirs", {}, globex);
    const run = await store.startRun({ webhook_url: "https://own.example.com/" });
    const committed = await flush(store.sql, [endEntry(run)]);
    expect(committed).toMatchObject([{ run_id: run.run_id, webhook: true }]);
    const id = `${run.run_id.replace("run_", "whd_")}_2`;
    expect(await deliveries()).toEqual([
      {
        delivery_id: id,
        type: "run.completed",
        endpoint_id: null,
        url: "https://own.example.com/",
        outcome: null,
      },
      { delivery_id: `${id}_all`, type: "run.completed", endpoint_id: "all", url: URL_A, outcome: null },
    ]);
    // The same flush again, as after a lost response.
    expect(await flush(store.sql, [endEntry(run)])).toEqual([]);
    expect(await deliveries()).toHaveLength(2);
  });

  test("reports a delivery to the worker also when the run has no webhook of its own, and none for a step", async () => {
    await save("all");
    const [ends, steps] = [await store.startRun(), await store.startRun()];
    const committed = await flush(store.sql, [endEntry(ends), stepEntry(steps)]);
    expect(new Map(committed.map((row) => [row.run_id, row.webhook]))).toEqual(
      new Map([
        [ends.run_id, true],
        [steps.run_id, false],
      ]),
    );
  });

  test("inserts one for a question, and for the cancel of a run without a worker", async () => {
    await save("questions", { events: ["run.waiting"] });
    await save("cancels", { events: ["run.cancelled"] });
    await flush(store.sql, [parkEntry(await store.startRun(), [humanWait("w.1")])]);
    const queued = await store.accept();
    const end = { run_id: queued, known_seq: 0, events: '{"type":"done"}', events_n: 1, output: "{}" };
    await cancelRuns(store.sql, [], [end]);
    expect(await deliveries()).toMatchObject(
      expect.arrayContaining([
        expect.objectContaining({ type: "run.waiting", endpoint_id: "questions" }),
        expect.objectContaining({ type: "run.cancelled", endpoint_id: "cancels" }),
      ]),
    );
    expect(await deliveries()).toHaveLength(2);
  });

  // Fails when a chat turn counts as a run, or a run as a chat turn.
  test("sends the end and the questions of a chat turn to those that ask for chat, and not to those that ask for runs", async () => {
    await save("chats", { events: ["chat.failed"] });
    await save("chat_questions", { events: ["chat.waiting"] });
    await save("runs", { events: ["run.failed", "run.waiting"] });
    const turns = [await store.startRun(), await store.startRun()] as const;
    const session = SessionId.parse("sess_b639c740430d4a9a");
    await store.sql`update runs set chat_session = ${session}`;
    await flush(store.sql, [endEntry(turns[0], { status: "failed" })]);
    await flush(store.sql, [parkEntry(turns[1], [humanWait("w.1")])]);
    const sent = (await deliveries()).map(({ type, endpoint_id }) => `${type} to ${endpoint_id}`);
    expect(new Set(sent)).toEqual(new Set(["run.failed to chats", "run.waiting to chat_questions"]));
  });

  // Fails when a tenant can make the end of a run as expensive as it likes.
  test(`inserts at most ${MAX_ENDPOINTS} deliveries to endpoints`, async () => {
    for (let i = 0; i < MAX_ENDPOINTS; i++) await save(`e${i}`);
    expect(await save("one-more")).toBeNull();
    expect(await save("e3", { description: "replaced" })).toMatchObject({ created: false });
    // Requests at the same time may have found room for more.
    await store.sql`
      insert into webhook_endpoints select (e).* from (
        select jsonb_populate_record(e, '{"endpoint_id": "zz"}') as e from webhook_endpoints e where endpoint_id = 'e0') more`;
    await flush(store.sql, [endEntry(await store.startRun())]);
    expect(await deliveries()).toHaveLength(MAX_ENDPOINTS);
  });
});

describe("a claimed delivery", () => {
  test("goes to the URL and has the secrets that its endpoint has now, and the old secret until its overlap ends", async () => {
    await save("e");
    await flush(store.sql, [endEntry(await store.startRun())]);
    await save("e", { url: "https://b.example.com/" });
    expect(await rotateSecret(store.sql, acme, "e", "v1.new", 60)).not.toBeNull();
    // A second overlap would end the secret that receivers have.
    expect(await rotateSecret(store.sql, acme, "e", "v1.third", 60)).toBeNull();
    const sent = { url: "https://b.example.com/", secret: "v1.new", previous_secret: "v1.sealed" };
    expect(await claim()).toMatchObject([{ endpoint_id: "e", host: "b.example.com", ...sent }]);
    const makeAllDue = () => store.sql`update webhook_deliveries set next_at = now()`;
    await store.sql`update webhook_endpoints set previous_until = now()`;
    await makeAllDue();
    expect(await claim()).toMatchObject([{ secret: "v1.new", previous_secret: null }]);
    await makeAllDue();
    expect(await rotateSecret(store.sql, acme, "e", "v1.third", 60)).not.toBeNull();
    expect(await rotateSecret(store.sql, acme, "e", "v1.leaked", 0)).not.toBeNull();
    expect(await claim()).toMatchObject([{ secret: "v1.leaked", previous_secret: null }]);
  });

  test("is closed and not sent when its endpoint was disabled or deleted, and can be sent again when it is back", async () => {
    await save("a");
    await save("b");
    await flush(store.sql, [endEntry(await store.startRun())]);
    await save("a", { enabled: false });
    await deleteEndpoint(store.sql, acme, "b");
    const claimed = await claimDeliveries(store.sql, 32, [], null);
    expect(claimed).toMatchObject({ deliveries: [], withdrawn: 2, expired: 0 });
    expect(await deliveries()).toMatchObject([{ outcome: "rejected" }, { outcome: "rejected" }]);
    const [first] = await deliveries();
    const id = String(first?.["delivery_id"]);
    expect(await redeliver(store.sql, acme, id)).toBeNull();
    await enableEndpoint(store.sql, acme, "a");
    expect(await redeliver(store.sql, acme, id)).toMatchObject({ outcome: null });
    expect(await claim()).toMatchObject([{ endpoint_id: "a" }]);
  });
});

describe("an endpoint", () => {
  const audited = () => store.sql`select key_id, action, target, tenant_id from audit`;

  test("is disabled by a failure five days after the first one, with a row of the audit, and others are not", async () => {
    await save("e");
    await save("e", {}, globex);
    await tryOne({});
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({
      failing_since_ms: expect.any(Number),
      disabled_at_ms: null,
    });
    await failingSince(4.99);
    await tryOne({ outcome: "rejected", status: 400 });
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({ disabled_at_ms: null });
    expect(await audited()).toEqual([]);
    await failingSince(5);
    await tryOne({ status: null });
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({
      disabled_at_ms: expect.any(Number),
      disabled_reason: "failing",
    });
    expect(await readEndpoint(store.sql, globex, "e")).toMatchObject({ disabled_at_ms: null });
    expect(await audited()).toEqual([
      { key_id: "system", action: "disableFailingWebhookEndpoint", target: "e", tenant_id: acme },
    ]);
    expect(await enableEndpoint(store.sql, acme, "e")).toMatchObject({
      disabled_at_ms: null,
      disabled_reason: null,
      failing_since_ms: null,
    });
    await store.sql`truncate audit`;
  });

  // Fails when a request that was under way to the URL before begins or ends the count of the new one: the first failure there could disable it.
  test.each([
    ["failure", { outcome: null, status: 500, error: "no" }, null],
    ["success", { outcome: "delivered" as const, status: 200, error: null }, expect.any(Number)],
  ])("does not count a %s of the URL that it had before", async (_name, result, expected) => {
    await save("e");
    await flush(store.sql, [endEntry(await store.startRun())]);
    const [sent] = await claim();
    await save("e", { url: "https://b.example.com/hook" });
    if (expected !== null) await failingSince(1);
    const { delivery_id = "", tries = 0 } = sent ?? {};
    await saveDeliveryTry(store.sql, { delivery_id, tries, retry_ms: 1_000, ...result });
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({ failing_since_ms: expected });
  });

  // Fails when two workers that see failures at the same time both record that they disabled it.
  test("is disabled once by failures at the same time", async () => {
    await save("e");
    for (let i = 0; i < 3; i++) await flush(store.sql, [endEntry(await store.startRun())]);
    await failingSince(6);
    const due = await claim();
    await Promise.all(
      due.map(({ delivery_id, tries }) =>
        saveDeliveryTry(store.sql, {
          delivery_id,
          tries,
          outcome: null,
          retry_ms: 1,
          status: 500,
          error: "no",
        }),
      ),
    );
    expect(due).toHaveLength(3);
    expect(await audited()).toHaveLength(1);
    await store.sql`truncate audit`;
  });

  // Fails when an older edge beside a newer one, or after a return to its version, can read no endpoint of the tenant.
  test("is read without the events that only a later version knows, and keeps them", async () => {
    await save("a", { events: ["run.failed"] });
    await store.sql`update webhook_endpoints set events = array_append(events, 'run.of_a_later_version')`;
    expect(await enableEndpoint(store.sql, acme, "a")).toMatchObject({ events: ["run.failed"] });
    expect(await readEndpoint(store.sql, acme, "a")).toMatchObject({ events: ["run.failed"] });
    expect(await store.sql`select cardinality(events) as n from webhook_endpoints`).toEqual([{ n: 2 }]);
  });

  test("is not failing because of a test, which is tried once", async () => {
    await save("e");
    expect(await insertTestDelivery(store.sql, acme, "none", newRunId(Date.now()))).toBeNull();
    const id = await insertTestDelivery(store.sql, acme, "e", newRunId(Date.now()));
    const [due] = await claim();
    expect(due).toMatchObject({ delivery_id: id, type: "webhook.test", url: URL_A, secret: "v1.sealed" });
    const failed = { outcome: null, retry_ms: 1, status: 500, error: "no" };
    expect(await saveDeliveryTry(store.sql, { delivery_id: id ?? "", tries: 1, ...failed })).toBe("expired");
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({ failing_since_ms: null });
  });

  test("is not disabled when a success came in between, nor for what this installation could not sign", async () => {
    await save("e");
    await failingSince(9);
    await tryOne({ outcome: "delivered", status: 200, error: null });
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({ failing_since_ms: null });
    await tryOne({ sender_failed: true, status: null });
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({ failing_since_ms: null });
    await failingSince(9);
    await tryOne({ sender_failed: true, status: null });
    expect(await readEndpoint(store.sql, acme, "e")).toMatchObject({ disabled_at_ms: null });
    // Another address begins anew.
    expect((await save("e", { url: "https://b.example.com/" }))?.row).toMatchObject({
      failing_since_ms: null,
    });
  });
});
