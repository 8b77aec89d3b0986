import { noArchive } from "../../services/journal-pages.ts";
import { createHmac } from "node:crypto";
import type { ServerResponse } from "node:http";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { LANE_DEFAULTS } from "../../../shared/contracts/lane-settings.ts";
import type { LaneSettings } from "../../../shared/contracts/lane-settings.ts";
import { SECRET_FIELD } from "../../../shared/contracts/webhook.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { sealedPlace, seal } from "../../../shared/security/seal.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import type { ClaimedDeliveries, Receiver } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { WebhookSender } from "../../../worker-node/webhooks/webhook-sender.ts";
import { endEntry, humanWait, parkEntry, startChild } from "../../shared/store/family-fixture.ts";
import { refusingStore } from "../fakes.ts";
import { openStore } from "../../shared/store/store-fixture.ts";
import { newRun } from "../../services/new-run.ts";
import type { Store } from "../../shared/store/store-fixture.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { withFlushListener } from "../../../worker-node/fleet/flush-listener.ts";
import { pace, slowPeer, turn, until } from "../../services/waiting.ts";
import { WebhookReceiver } from "./webhook-receiver.ts";

const key = masterKey().parse("ab".repeat(32));
const otherKey = masterKey().parse("cd".repeat(32));

let store: Store;
let receiver: WebhookReceiver;
let senders: WebhookSender[];
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`truncate webhook_deliveries`;
  senders = [];
  receiver = await WebhookReceiver.listen();
});
afterEach(async () => {
  await Promise.all(senders.map((sender) => sender.drain(0)));
  receiver.close();
});

/** Ends a run with a webhook, so that its delivery is due. */
async function makeDue(url = receiver.url(), secret: string | null = null): Promise<void> {
  const { run_id } = newRun();
  const webhook_secret = secret && (await seal(key, secret, sealedPlace(run_id, SECRET_FIELD)));
  const run = await store.startRun({ run_id, webhook_url: url, webhook_secret });
  await flush(store.sql, [endEntry(run)]);
}

function startSender({
  allow = "127.0.0.1",
  masterKey: signingKey = key,
  state = stateStore(store.sql),
  lane = {},
}: {
  allow?: string;
  masterKey?: typeof key | null;
  state?: StateStore;
  lane?: Partial<LaneSettings>;
} = {}): WebhookSender {
  const laneSettings = () => ({ ...LANE_DEFAULTS.webhooks, ...lane });
  const sender = new WebhookSender(state, {
    egress: createEgress(allow),
    masterKey: signingKey,
    readArchive: noArchive,
    laneSettings,
  });
  senders.push(sender);
  sender.start();
  return sender;
}

/** The store with other verbs. `tryEnded` waits for the claim that follows the end of the first try: the try sends nothing more. */
function observed(verbs: Partial<StateStore>): { state: StateStore; tryEnded(): Promise<void> } {
  const real = { ...stateStore(store.sql), ...verbs };
  let [hasClaimed, hasEnded] = [false, false];
  const claimDeliveries: StateStore["claimDeliveries"] = async (slots, open, ...rest) => {
    hasEnded ||= hasClaimed && open.length === 0;
    const claimed = await real.claimDeliveries(slots, open, ...rest);
    hasClaimed ||= claimed.deliveries.length > 0;
    return claimed;
  };
  return { state: { ...real, claimDeliveries }, tryEnded: () => until("the try has ended", () => hasEnded) };
}

const rows = () => store.sql`select * from webhook_deliveries order by delivery_id`;

async function firstOutcome(ms = 20_000) {
  await expect
    .poll(async () => (await rows()).some((row) => row["done_at"] !== null || row["failures"] > 0), {
      timeout: ms,
    })
    .toBe(true);
  const [row] = await rows();
  return row;
}

// Fails when a request has no time limit, or when the error does not name the limit.
test("a receiver that does not respond fails the try with the time limit, and is tried again", async () => {
  receiver.respond = () => {};
  await makeDue();
  startSender();
  const row = await firstOutcome(60_000);
  expect(row).toMatchObject({
    outcome: null,
    failures: 1,
    last_status: null,
    last_error: "webhook_timeout: no answer within 10 s",
  });
});

// Fails when redirects are followed.
test("a redirect is not followed, and rejects the delivery", async () => {
  const other = await WebhookReceiver.listen();
  receiver.respond = (response) => response.writeHead(307, { location: other.url() }).end();
  await makeDue();
  startSender();
  expect(await firstOutcome()).toMatchObject({
    outcome: "rejected",
    last_status: 307,
    last_error: "the receiver answered HTTP 307: redirects are not followed",
  });
  expect(other.requests).toEqual([]);
  other.close();
});

// Fails when the guard checks only the text of the URL.
test("a name of a private address is refused when it is resolved", async () => {
  await makeDue(receiver.url("localhost"));
  startSender({ allow: "" });
  expect(await firstOutcome()).toMatchObject({
    outcome: "rejected",
    last_status: null,
    last_error: "egress_blocked: localhost is not a public address, and EGRESS_ALLOW does not name it",
  });
  expect(receiver.requests).toEqual([]);
});

// Fails when the response is read to its end, or its length fails a delivered try.
test.each([
  ["long", (response: ServerResponse) => void response.end("x".repeat(10_000_000))],
  ["without an end", (response: ServerResponse) => void response.write("I am")],
])("a response that is %s delivers at its headers", async (_, respond) => {
  receiver.respond = respond;
  await makeDue();
  startSender();
  expect(await firstOutcome()).toMatchObject({ outcome: "delivered", last_status: 200 });
  await expect.poll(() => receiver.open).toBe(0);
});

// Fails when such a response leaves the try open: after 64 of them this worker sends no more.
test("a receiver that switches protocols rejects the delivery", async () => {
  receiver.respond = (response) => {
    response.socket?.end("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n");
  };
  await makeDue();
  startSender();
  expect(await firstOutcome()).toMatchObject({ outcome: "rejected", last_status: 101 });
});

// Fails when a delivery that cannot be signed is sent unsigned.
test("a delivery with a secret waits for a worker that can sign it", async () => {
  await makeDue(receiver.url(), "whispered");
  const wrong = startSender({ masterKey: otherKey });
  expect(await firstOutcome()).toMatchObject({
    outcome: null,
    failures: 1,
    last_error: expect.stringContaining("MASTER_KEY"),
  });
  await wrong.drain(0);
  expect(receiver.requests).toEqual([]);
  await store.sql`update webhook_deliveries set next_at = now()`;
  startSender();
  const [request] = await receiver.waitForRequests(1);
  expect(request?.headers["x-synapse-signature"]).toMatch(/^sha256=[0-9a-f]{64}$/);
});

// Fails when the secret, which is sealed for the run at the top, is opened for the child.
test("a child's question is signed with the secret of the run at the top of its family", async () => {
  const { run_id } = newRun();
  const webhook_secret = await seal(key, "of the top", sealedPlace(run_id, SECRET_FIELD));
  await store.startRun({ run_id, webhook_url: receiver.url(), webhook_secret });
  const child = await startChild(store, run_id, "w");
  await flush(store.sql, [parkEntry(child, [humanWait("w")])]);
  startSender();
  expect(await firstOutcome()).toMatchObject({ outcome: "delivered" });
  const [{ headers, body } = { headers: {}, body: "" }] = receiver.requests;
  expect(JSON.parse(body)).toMatchObject({ run_id: child.run_id, root_run_id: run_id });
  const signature = createHmac("sha256", "of the top").update(body).digest("hex");
  expect(headers["x-synapse-signature"]).toBe(`sha256=${signature}`);
});

// Fails when the worker claims deliveries with a secret: each such claim delays the workers that can sign them.
test("a worker without a master key leaves deliveries with a secret to others, and sends the rest", async () => {
  await makeDue(receiver.url(), "whispered");
  await makeDue();
  const keyless = startSender({ masterKey: null });
  await receiver.waitForRequests(1);
  await expect.poll(() => keyless.sent.delivered).toBe(1);
  const [signed] = (await rows()).filter((row) => row["secret"] !== null);
  expect(signed).toMatchObject({ tries: 0, failures: 0, outcome: null });
});

describe("a pass of the sender", () => {
  const emptyClaim = { deliveries: [], after: null, missed: 0, expired: 0, withdrawn: 0 };
  const lastReceiver = { tenant_id: "acme", host: "h" };
  const claimsOf = async (n: number, ...results: ClaimedDeliveries[]) => {
    const cursors: (Receiver | null)[] = [];
    startSender({
      state: {
        ...refusingStore,
        claimDeliveries: async (_slots, _busy, after) => {
          cursors.push(after);
          return results[Math.min(cursors.length, results.length) - 1] ?? emptyClaim;
        },
      },
    });
    await expect.poll(() => cursors.length).toBe(n);
    // The pause before a further claim, 20 ms, has begun before this one.
    await pace(40);
    return cursors;
  };

  // Fails when a pass goes through all receivers.
  test("ends after three empty claims, each of which begins after the receiver where the last one ended", async () => {
    expect(await claimsOf(3, { ...emptyClaim, after: lastReceiver })).toEqual([
      null,
      lastReceiver,
      lastReceiver,
    ]);
    expect(await claimsOf(1, emptyClaim)).toEqual([null]);
  });

  // Fails when a pass that began in the middle is taken for a complete one.
  test("goes on from the first receiver after the last one", async () => {
    expect(await claimsOf(3, { ...emptyClaim, after: lastReceiver }, emptyClaim)).toEqual([
      null,
      lastReceiver,
      null,
    ]);
  });

  // Fails when a claim whose deliveries were locked is taken for one with nothing due.
  test("claims again at the same receiver when another worker had locked the due deliveries", async () => {
    expect(await claimsOf(2, { ...emptyClaim, missed: 3, after: lastReceiver }, emptyClaim)).toEqual([
      null,
      null,
    ]);
    expect(await claimsOf(3, { ...emptyClaim, missed: 3 })).toHaveLength(3);
  });
});

// Fails when open tries are kept by the delivery alone: the end of the first try removes the second.
test("a try that outlives its lease does not remove the next try of the same worker", async () => {
  const state = stateStore(store.sql);
  const busy: number[] = [];
  let saves = 0;
  let isSuperseded = false;
  startSender({
    state: {
      ...state,
      claimDeliveries: (slots, open, ...rest) => {
        busy.push(open.reduce((sum, { n }) => sum + n, 0));
        return state.claimDeliveries(slots, open, ...rest);
      },
      saveDeliveryTry: async (result) => {
        // The first outcome is written while the second request is open.
        if (++saves > 1) return state.saveDeliveryTry(result);
        await store.sql`update webhook_deliveries set next_at = now()`;
        receiver.respond = () => {};
        senders[0]?.wake();
        await receiver.waitForRequests(2);
        isSuperseded = true;
        return "superseded";
      },
    },
  });
  await makeDue();
  senders[0]?.wake();
  await until("the first try has ended", () => isSuperseded);
  await turn();
  const claims = busy.length;
  senders[0]?.wake();
  await until("another claim", () => busy.length > claims);
  expect(busy.at(-1)).toBe(1);
});

// Fails when a claim returns the events of its deliveries, of whatever size.
test("the events of a delivery are read when it is sent, for that delivery alone", async () => {
  const state = stateStore(store.sql);
  const readSeqs: number[] = [];
  startSender({
    state: {
      ...state,
      readEvents: (run, seq) => {
        readSeqs.push(seq);
        return state.readEvents(run, seq);
      },
    },
  });
  await makeDue();
  await makeDue();
  senders[0]?.wake();
  await receiver.waitForRequests(2);
  expect(readSeqs).toEqual([2, 2]);
  for (const { body } of receiver.requests) expect(JSON.parse(body)).toMatchObject({ type: "run.completed" });
});

// Fails when an unreachable store counts as a failure of the receiver.
test("a delivery whose events cannot be read is not sent, and no failure is counted", async () => {
  const { state, tryEnded } = observed({ readEvents: () => Promise.reject(new Error("unreachable")) });
  await makeDue();
  startSender({ state });
  await tryEnded();
  expect(receiver.requests).toEqual([]);
  expect(await rows()).toMatchObject([{ sending: true, failures: 0, outcome: null }]);
});

describe("many workers", () => {
  // Fails when a claim does not lock, or takes no lease.
  test("send each delivery once, and make no two tries at the same time", async () => {
    receiver.respond = (response) => void slowPeer(30).then(() => response.end());
    for (let i = 0; i < 60; i++) await makeDue();
    const workers = [startSender(), startSender(), startSender()];
    await receiver.waitForRequests(60);
    await expect.poll(async () => (await rows()).every((row) => row["outcome"] === "delivered")).toBe(true);
    const ids = receiver.requests.map(({ headers }) => headers["webhook-id"]);
    expect([ids.length, new Set(ids).size]).toEqual([60, 60]);
    // A worker counts a delivery after the row of its outcome is committed.
    await expect.poll(() => workers.reduce((sum, { sent }) => sum + sent.delivered, 0)).toBe(60);
  });

  // Fails when a worker opens as many requests to one receiver as it has slots.
  test("have at most sixteen requests each open to one receiver, so that a slow one delays no other", async () => {
    const fast = await WebhookReceiver.listen();
    const slow: ServerResponse[] = [];
    receiver.respond = (response) => slow.push(response);
    for (let i = 0; i < 40; i++) await makeDue();
    for (let i = 0; i < 20; i++) await makeDue(fast.url());
    startSender();
    await fast.waitForRequests(20);
    expect(receiver.maxOpen).toBe(16);
    for (const response of slow) response.end();
    fast.close();
  });
});

// Fails when a delivery without a written outcome is not sent again after its lease.
test("a try whose outcome was not written is repeated with the same webhook-id and body", async () => {
  const state = stateStore(store.sql);
  const unableToSave = startSender({
    state: { ...state, saveDeliveryTry: () => Promise.reject(new Error("unreachable")) },
  });
  await makeDue();
  unableToSave.wake();
  await receiver.waitForRequests(1);
  await unableToSave.drain(0);
  await store.sql`update webhook_deliveries set next_at = now() where sending`;
  startSender();
  const [first, second] = await receiver.waitForRequests(2);
  expect(second?.headers["webhook-id"]).toBe(first?.headers["webhook-id"]);
  expect(second?.body).toBe(first?.body);
});

// Fails when a claimed delivery is sent however long ago the claim was.
test("a worker that was suspended after its claim does not send a delivery whose lease may lapse", async () => {
  const state = stateStore(store.sql);
  const clock = vi.spyOn(performance, "now");
  const suspended = observed({
    claimDeliveries: async (...args) => {
      const claimed = await state.claimDeliveries(...args);
      if (claimed.deliveries.length > 0) clock.mockReturnValue(performance.now() + 11_000);
      return claimed;
    },
  });
  await makeDue();
  startSender({ state: suspended.state });
  await suspended.tryEnded();
  clock.mockRestore();
  expect(receiver.requests).toEqual([]);
  expect(await rows()).toMatchObject([{ tries: 1, sending: true, outcome: null }]);
});

describe("a drain of the sender", () => {
  test("lets open requests end, and claims no other delivery", async () => {
    const open: ServerResponse[] = [];
    receiver.respond = (response) => void open.push(response);
    for (let i = 0; i < 20; i++) await makeDue();
    const sender = startSender();
    await receiver.waitForRequests(16);
    const drained = sender.drain(60_000);
    for (const response of open) response.end();
    await drained;
    const outcomes = (await rows()).map((row) => row["outcome"]);
    expect(outcomes.filter((outcome) => outcome === "delivered")).toHaveLength(16);
    expect(receiver.requests).toHaveLength(16);
  });

  // Fails when the leases stay: other workers would wait until they lapse.
  test("releases the deliveries whose requests do not end in time", async () => {
    receiver.respond = () => {};
    await makeDue();
    const sender = startSender();
    await receiver.waitForRequests(1);
    await sender.drain(100);
    receiver.respond = (response) => response.end();
    startSender();
    await receiver.waitForRequests(2);
    expect(await firstOutcome()).toMatchObject({ outcome: "delivered", tries: 2, failures: 0 });
  });
});

test("the listener of a flush gets the entries that have made a delivery due", async () => {
  let woken = 0;
  const state = withFlushListener(stateStore(store.sql), (committed) => {
    woken += committed.filter(({ webhook }) => webhook).length;
  });
  await state.flush([endEntry(await store.startRun())]);
  expect(woken).toBe(0);
  await state.flush([endEntry(await store.startRun({ webhook_url: receiver.url() }))]);
  expect(woken).toBe(1);
});

describe("the settings of the lane `webhooks`", () => {
  test("bound how many requests a worker has open", async () => {
    const open: ServerResponse[] = [];
    receiver.respond = (response) => void open.push(response);
    for (let n = 0; n < 5; n++) await makeDue();
    startSender({ lane: { slots: 2 } });
    for (let ended = 0; ended < 3; ended++) {
      await expect.poll(() => open.length).toBe(2);
      expect(receiver.requests).toHaveLength(2 + ended);
      open.shift()?.end();
    }
    await expect.poll(() => receiver.requests.length).toBe(5);
    for (const response of open) response.end();
  });

  // Fails when a worker counts its own starts alone.
  test("bound how many requests all workers together begin in a second", async () => {
    await store.sql`truncate lane_starts`;
    const begunMs: number[] = [];
    receiver.respond = (response) => {
      begunMs.push(performance.now());
      response.end();
    };
    for (let n = 0; n < 12; n++) await makeDue();
    const startedMs = performance.now();
    for (let n = 0; n < 3; n++) startSender({ lane: { starts_per_second: 20 } });
    await expect.poll(() => begunMs.length, { timeout: 100_000 }).toBe(12);
    // Five at once at most, and a twentieth of a second for each further one. What the claims last makes the time longer only.
    const tookMs = (begunMs.at(-1) ?? 0) - startedMs;
    expect(tookMs).toBeGreaterThan(((12 - 5) * 1_000) / 20);
  });

  test("end a delivery after its attempts", async () => {
    receiver.respond = (response) => response.writeHead(503).end();
    await makeDue();
    startSender({ lane: { attempts: 1 } });
    expect(await firstOutcome()).toMatchObject({
      outcome: "rejected",
      last_error: "the receiver answered HTTP 503; it was try 1 of 1, as the lane webhooks allows",
    });
  });

  test("decide how long a receiver has, and how long the first wait is", async () => {
    receiver.respond = () => {};
    await makeDue();
    startSender({ lane: { timeout_seconds: 0.2, first_backoff_seconds: 600 } });
    const row = await firstOutcome();
    expect(row).toMatchObject({ outcome: null, last_error: "webhook_timeout: no answer within 0.2 s" });
    expect(Number(row?.["next_at"]) - Date.now()).toBeGreaterThan(400_000);
  });
});
