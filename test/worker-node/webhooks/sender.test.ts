import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { SECRET_FIELD } from "../../../shared/contracts/webhook.ts";
import { masterKey, placeOf, seal } from "../../../shared/seal.ts";
import { flush } from "../../../shared/store/flush.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { createEgress } from "../../../worker-node/tools/egress.ts";
import { Sender, wakingStore } from "../../../worker-node/webhooks/sender.ts";
import { endOf } from "../../store/relatives.ts";
import { newRun, openStore } from "../../store/world.ts";
import type { Store } from "../../store/world.ts";
import { Receiver } from "./receiver.ts";

const key = masterKey().parse("ab".repeat(32));
const otherKey = masterKey().parse("cd".repeat(32));

let store: Store;
let receiver: Receiver;
let senders: Sender[];
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`truncate webhook_deliveries`;
  senders = [];
  receiver = await Receiver.listen();
});
afterEach(async () => {
  await Promise.all(senders.map((sender) => sender.drain(0)));
  receiver.close();
});

/** A run that has ended, and its delivery is due. */
async function due(url = receiver.url(), secret: string | null = null): Promise<void> {
  const { run_id } = newRun();
  const webhook_secret = secret && (await seal(key, secret, placeOf(run_id, SECRET_FIELD)));
  const run = await store.running({ run_id, webhook_url: url, webhook_secret });
  await flush(store.sql, [endOf(run)]);
}

function startSender({
  allow = "127.0.0.1",
  masterKey: opens = key,
  truth = stateStore(store.sql),
}: { allow?: string; masterKey?: typeof key; truth?: StateStore } = {}): Sender {
  const sender = new Sender(truth, { egress: createEgress(allow), masterKey: opens });
  senders.push(sender);
  sender.start();
  return sender;
}

const rows = () => store.sql`select * from webhook_deliveries order by delivery_id`;

async function standing(ms = 5_000) {
  await expect
    .poll(async () => (await rows()).some((row) => row["done_at"] !== null || row["failures"] > 0), {
      timeout: ms,
    })
    .toBe(true);
  const [row] = await rows();
  return row;
}

// Red when: there is no limit, or its text does not name it.
test("a receiver that hangs is told as the limit that it passed, and is tried again", async () => {
  receiver.answer = (response) => {
    response.writeHead(200);
    response.write("I am");
  };
  await due();
  startSender();
  const row = await standing(15_000);
  expect(row).toMatchObject({
    outcome: null,
    failures: 1,
    last_status: null,
    last_error: "webhook_timeout: no answer within 10 s",
  });
});

// Red when: redirects are followed.
test("a redirect is not followed, and ends the delivery", async () => {
  const other = await Receiver.listen();
  receiver.answer = (response) => response.writeHead(307, { location: other.url() }).end();
  await due();
  startSender();
  expect(await standing()).toMatchObject({
    outcome: "rejected",
    last_status: 307,
    last_error: "the receiver answered HTTP 307: redirects are not followed",
  });
  expect(other.got).toEqual([]);
  other.close();
});

// Red when: only what is written in the URL is looked at.
test("a name that stands for a private address is refused when it is resolved", async () => {
  await due(receiver.url("localhost"));
  startSender({ allow: "" });
  expect(await standing()).toMatchObject({
    outcome: "rejected",
    last_status: null,
    last_error: "egress_blocked: localhost is not a public address, and EGRESS_ALLOW does not name it",
  });
  expect(receiver.got).toEqual([]);
});

// Red when: the answer is read to its end, or its length fails a try that was taken.
test("an answer of any length is one", async () => {
  receiver.answer = (response) => response.end("x".repeat(10_000_000));
  await due();
  startSender();
  expect(await standing()).toMatchObject({ outcome: "delivered", last_status: 200 });
});

// Red when: what cannot be signed is sent all the same.
test("what is to be signed waits for a worker that can sign it", async () => {
  await due(receiver.url(), "whispered");
  const wrong = startSender({ masterKey: otherKey });
  expect(await standing()).toMatchObject({
    outcome: null,
    failures: 1,
    last_error: expect.stringContaining("MASTER_KEY"),
  });
  await wrong.drain(0);
  expect(receiver.got).toEqual([]);
  await store.sql`update webhook_deliveries set next_at = now()`;
  startSender();
  const [got] = await receiver.until(1);
  expect(got?.headers["x-synapse-signature"]).toMatch(/^sha256=[0-9a-f]{64}$/);
});

describe("many workers", () => {
  // Red when: a claim does not lock, or lends nothing.
  test("send each delivery once, and no try at once with another", async () => {
    receiver.answer = (response) => void sleep(30).then(() => response.end());
    for (let i = 0; i < 60; i++) await due();
    const all = [startSender(), startSender(), startSender()];
    await receiver.until(60, 20_000);
    await expect.poll(async () => (await rows()).every((row) => row["outcome"] === "delivered")).toBe(true);
    const ids = receiver.got.map(({ headers }) => headers["webhook-id"]);
    expect([ids.length, new Set(ids).size]).toEqual([60, 60]);
    expect(all.reduce((sum, { sent }) => sum + sent.delivered, 0)).toBe(60);
  }, 30_000);

  // Red when: a worker opens as many requests to one receiver as it has slots.
  test("have sixteen requests open to one receiver each, and a slow one holds no other back", async () => {
    const quick = await Receiver.listen();
    receiver.answer = (response) => void sleep(2_000).then(() => response.end());
    for (let i = 0; i < 40; i++) await due();
    for (let i = 0; i < 20; i++) await due(quick.url());
    startSender();
    await quick.until(20, 1_900);
    expect(receiver.mostOpen).toBe(16);
    quick.close();
  }, 30_000);
});

// Red when: an outcome that was not written is forgotten with its lease.
test("a try whose outcome nobody wrote is made again with the same id", async () => {
  const truth = stateStore(store.sql);
  const deaf = startSender({ truth: { ...truth, saveTry: () => Promise.reject(new Error("away")) } });
  await due();
  deaf.wake();
  await receiver.until(1);
  await deaf.drain(0);
  await store.sql`update webhook_deliveries set next_at = now() where sending`;
  startSender();
  const [first, second] = await receiver.until(2);
  expect(second?.headers["webhook-id"]).toBe(first?.headers["webhook-id"]);
  expect(second?.body).toBe(first?.body);
}, 20_000);

// Red when: what was claimed is sent however long ago that was.
test("a worker that was stopped after its claim leaves what may be another's by now", async () => {
  const truth = stateStore(store.sql);
  const clock = vi.spyOn(performance, "now");
  const claimDeliveries: StateStore["claimDeliveries"] = async (...args) => {
    const claimed = await truth.claimDeliveries(...args);
    if (claimed.deliveries.length > 0) clock.mockReturnValue(performance.now() + 11_000);
    return claimed;
  };
  await due();
  startSender({ truth: { ...truth, claimDeliveries } });
  await expect.poll(() => clock.mock.results.length, { timeout: 5_000 }).toBeGreaterThan(3);
  await sleep(300);
  clock.mockRestore();
  expect(receiver.got).toEqual([]);
  expect(await rows()).toMatchObject([{ tries: 1, sending: true, outcome: null }]);
});

describe("a drain", () => {
  test("lets open requests end, and claims no more", async () => {
    receiver.answer = (response) => void sleep(300).then(() => response.end());
    for (let i = 0; i < 20; i++) await due();
    const sender = startSender();
    await receiver.until(16);
    await sender.drain(5_000);
    const outcomes = (await rows()).map((row) => row["outcome"]);
    expect(outcomes.filter((outcome) => outcome === "delivered")).toHaveLength(16);
    expect(receiver.got).toHaveLength(16);
  });

  // Red when: leases are kept: others would wait for them.
  test("gives back what does not end in time", async () => {
    receiver.answer = () => {};
    await due();
    const sender = startSender();
    await receiver.until(1);
    await sender.drain(100);
    receiver.answer = (response) => response.end();
    startSender();
    await receiver.until(2, 1_000);
    expect(await standing()).toMatchObject({ outcome: "delivered", tries: 2, failures: 0 });
  });
});

test("a flush that leaves something to be sent wakes the sender, others do not", async () => {
  let woken = 0;
  const truth = wakingStore(stateStore(store.sql), () => (woken += 1));
  await truth.flush([endOf(await store.running())]);
  expect(woken).toBe(0);
  await truth.flush([endOf(await store.running({ webhook_url: receiver.url() }))]);
  expect(woken).toBe(1);
});
