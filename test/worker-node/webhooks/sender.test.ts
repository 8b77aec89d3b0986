import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { SECRET_FIELD } from "../../../shared/contracts/webhook.ts";
import { masterKey, placeOf, seal } from "../../../shared/seal.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import type { ClaimedDeliveries, Receiver } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { createEgress } from "../../../worker-node/outbound/egress.ts";
import { Sender, storeWithWakeup } from "../../../worker-node/webhooks/sender.ts";
import { endOf } from "../../shared/store/relatives.ts";
import { refusingStore } from "../fakes.ts";
import { newRun, openStore } from "../../shared/store/world.ts";
import type { Store } from "../../shared/store/world.ts";
import { Receiver as Hook } from "./receiver.ts";

const key = masterKey().parse("ab".repeat(32));
const otherKey = masterKey().parse("cd".repeat(32));

let store: Store;
let receiver: Hook;
let senders: Sender[];
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`truncate webhook_deliveries`;
  senders = [];
  receiver = await Hook.listen();
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
}: { allow?: string; masterKey?: typeof key | null; truth?: StateStore } = {}): Sender {
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
  receiver.answer = () => {};
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
  const other = await Hook.listen();
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
test.each([
  ["long", (response: ServerResponse) => void response.end("x".repeat(10_000_000))],
  ["without an end", (response: ServerResponse) => void response.write("I am")],
])("an answer that is %s is one", async (_, answer) => {
  receiver.answer = answer;
  await due();
  startSender();
  expect(await standing()).toMatchObject({ outcome: "delivered", last_status: 200 });
  await expect.poll(() => receiver.open).toBe(0);
});

// Red when: such an answer settles nothing: 64 of them, and this worker sends no more.
test("a receiver that switches protocols has answered, and ends the delivery", async () => {
  receiver.answer = (response) => {
    response.socket?.end("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
  };
  await due();
  startSender();
  expect(await standing()).toMatchObject({ outcome: "rejected", last_status: 101 });
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

// Red when: it claims what it cannot sign: each such claim makes the wait for those who can longer.
test("a worker without a key leaves what is to be signed to others, and sends the rest", async () => {
  await due(receiver.url(), "whispered");
  await due();
  const keyless = startSender({ masterKey: null });
  await receiver.until(1);
  await expect.poll(() => keyless.sent.delivered).toBe(1);
  const [signed] = (await rows()).filter((row) => row["secret"] !== null);
  expect(signed).toMatchObject({ tries: 0, failures: 0, outcome: null });
});

describe("a look", () => {
  const nothing = { deliveries: [], after: null, missed: 0, expired: 0 };
  const elsewhere = { tenant_id: "acme", host: "h" };
  const looks = async (n: number, ...answers: ClaimedDeliveries[]) => {
    const claims: (Receiver | null)[] = [];
    startSender({
      truth: {
        ...refusingStore,
        claimDeliveries: async (_slots, _busy, after) => {
          claims.push(after);
          return answers[Math.min(claims.length, answers.length) - 1] ?? nothing;
        },
      },
    });
    await expect.poll(() => claims.length).toBe(n);
    await sleep(100);
    return claims;
  };

  // Red when: it goes round all receivers there are.
  test("is short when nothing is found, and goes on where the last one ended", async () => {
    expect(await looks(3, { ...nothing, after: elsewhere })).toEqual([null, elsewhere, elsewhere]);
    expect(await looks(1, nothing)).toEqual([null]);
  });

  // Red when: a walk that began in the middle is taken for a whole one.
  test("that ends at the last receiver goes on from the first", async () => {
    expect(await looks(3, { ...nothing, after: elsewhere }, nothing)).toEqual([null, elsewhere, null]);
  });

  // Red when: that nothing could be had is taken for nothing being due.
  test("is made again when others had hold of what was due, in the same place", async () => {
    expect(await looks(2, { ...nothing, missed: 3, after: elsewhere }, nothing)).toEqual([null, null]);
    expect(await looks(3, { ...nothing, missed: 3 })).toHaveLength(3);
  });
});

// Red when: what is under way is known by the delivery alone: the end of its first try hides the second.
test("a try that outlives its lease does not hide the next one of the same worker", async () => {
  const truth = stateStore(store.sql);
  const busy: number[] = [];
  let saves = 0;
  startSender({
    truth: {
      ...truth,
      claimDeliveries: (slots, open, ...rest) => {
        busy.push(open.reduce((sum, { n }) => sum + n, 0));
        return truth.claimDeliveries(slots, open, ...rest);
      },
      saveTry: async (result) => {
        // The first outcome is written when the second request is open.
        if (++saves > 1) return truth.saveTry(result);
        await store.sql`update webhook_deliveries set next_at = now()`;
        receiver.answer = () => {};
        senders[0]?.wake();
        await receiver.until(2);
        return "lost";
      },
    },
  });
  await due();
  senders[0]?.wake();
  await receiver.until(2);
  await sleep(300);
  senders[0]?.wake();
  await sleep(300);
  expect(busy.at(-1)).toBe(1);
}, 20_000);

// Red when: a claim brings what its deliveries tell of, however much that is.
test("what a delivery tells of is read when it is sent, for that one alone", async () => {
  const truth = stateStore(store.sql);
  const read: number[] = [];
  startSender({
    truth: {
      ...truth,
      readEvents: (run, seq) => {
        read.push(seq);
        return truth.readEvents(run, seq);
      },
    },
  });
  await due();
  await due();
  senders[0]?.wake();
  await receiver.until(2);
  expect(read).toEqual([2, 2]);
  for (const { body } of receiver.got) expect(JSON.parse(body)).toMatchObject({ type: "run.completed" });
});

// Red when: a truth that is away is told as the receiver's fault.
test("a delivery whose events cannot be read is not sent, and its receiver is not blamed", async () => {
  const truth = stateStore(store.sql);
  startSender({ truth: { ...truth, readEvents: () => Promise.reject(new Error("away")) } });
  await due();
  senders[0]?.wake();
  await expect.poll(async () => (await rows())[0]?.["tries"]).toBe(1);
  await sleep(200);
  expect(receiver.got).toEqual([]);
  expect(await rows()).toMatchObject([{ sending: true, failures: 0, outcome: null }]);
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
    const quick = await Hook.listen();
    const slow: ServerResponse[] = [];
    receiver.answer = (response) => slow.push(response);
    for (let i = 0; i < 40; i++) await due();
    for (let i = 0; i < 20; i++) await due(quick.url());
    startSender();
    await quick.until(20);
    expect(receiver.mostOpen).toBe(16);
    for (const response of slow) response.end();
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
  await expect.poll(() => clock.mock.results.length, { timeout: 20_000 }).toBeGreaterThan(3);
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
    await receiver.until(2, 8_000);
    expect(await standing()).toMatchObject({ outcome: "delivered", tries: 2, failures: 0 });
  });
});

test("a flush that leaves something to be sent wakes the sender, others do not", async () => {
  let woken = 0;
  const truth = storeWithWakeup(stateStore(store.sql), () => (woken += 1));
  await truth.flush([endOf(await store.running())]);
  expect(woken).toBe(0);
  await truth.flush([endOf(await store.running({ webhook_url: receiver.url() }))]);
  expect(woken).toBe(1);
});
