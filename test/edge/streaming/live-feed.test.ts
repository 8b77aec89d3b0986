import { Redis } from "ioredis";
import { afterAll, expect, inject, onTestFinished, test, vi } from "vitest";
import { FOLLOWED_REDIS } from "../../../edge/clients/redis-settings.ts";
import { LiveFeed } from "../../../edge/streaming/live-feed.ts";
import { Relay } from "../../../edge/streaming/relay.ts";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { EntryLines } from "../../../shared/events/lines.ts";
import { xaddArgs } from "../../../shared/events/live.ts";
import { until } from "../../services/waiting.ts";

const run = newRunId(1_780_499_750_067);
const key = `live-feed-test:${run}`;
/** The two databases are two masters at one address: each knows nothing of what is written to the other. */
const [former, present] = [14, 15].map((db) => new Redis(inject("redisUrl"), { db }));
afterAll(async () => {
  for (const redis of [former, present]) {
    await redis?.del(key);
    redis?.disconnect();
  }
});

/** A relay whose feed follows the former master, and what happened to it. */
function followFormer(silentMs: number) {
  const entries: EntryLines[] = [];
  const received: number[] = [];
  const opened: number[] = [];
  let db = 14;
  const relay = new Relay(
    {
      page: async (_, after) => entries.filter(({ seq }) => seq > after),
      positions: async (runs) =>
        new Map(runs.map((id) => [id, { event_seq: entries.length, status: "running" }])),
    },
    { tickMs: 1_000, keepaliveMs: 3_600_000, checkMs: 0, awayCheckMs: 0 },
    () => feed.missed(),
  );
  const open = () => {
    opened.push(db);
    return new Redis(inject("redisUrl"), { ...FOLLOWED_REDIS, db });
  };
  const listener = {
    onEntry: ({ seq }: EntryLines) => void received.push(seq),
    onResync: () => relay.resync(),
  };
  const feed = new LiveFeed(open, key, listener, silentMs);
  onTestFinished(() => {
    feed.stop();
    relay.closeAll();
  });
  void feed.follow();
  void new Response(
    relay.join({ run, tenant: "a", after: 0 }, new AbortController().signal, () => {}).body,
  ).text();
  return {
    received,
    opened,
    following: () => feed.following,
    failover: () => (db = 15),
    tick: () => relay.tick(feed.following),
    async commit(redis: Redis | undefined) {
      const entry = { seq: entries.length + 1, events_n: 1, events: '{"type":"x"}' };
      entries.push(entry);
      await redis?.call("XADD", ...xaddArgs(key, { ...entry, run, last: false }));
    },
  };
}

// Fails when the relay stays with a master that answers and is no longer written to: all events would come by the checks of 15 s.
test("a relay that is connected to a former master goes to the present one when a viewer is behind", async () => {
  const at = followFormer(0);
  await expect.poll(at.following).toBe(true);
  at.failover();
  await at.commit(present);
  await expect
    .poll(() => {
      at.tick();
      return at.opened;
    })
    .toContain(15);
  await at.commit(present);
  await expect.poll(() => at.received).toContain(2);
});

// Fails when each lost publish reconnects the feed of all viewers of a shard.
test("a relay whose feed is busy keeps its connection when an entry does not come", async () => {
  const at = followFormer(3_600_000);
  await expect.poll(at.following).toBe(true);
  await at.commit(undefined);
  at.tick();
  await at.commit(former);
  await expect.poll(() => at.received).toEqual([2]);
  expect(at.opened).toEqual([14]);
});

// Fails with a time limit for each XREAD: workerd keeps each cleared timer for as long as the object lives.
test("entries that are received clear no timer", async () => {
  const at = followFormer(3_600_000);
  await expect.poll(at.following).toBe(true);
  const clear = vi.spyOn(globalThis, "clearTimeout");
  await at.commit(former);
  await until("the first entry is received", () => at.received.length === 1);
  await at.commit(former);
  await until("the second entry is received", () => at.received.length === 2);
  const cleared = clear.mock.calls.length;
  clear.mockRestore();
  expect(cleared).toBe(0);
});
