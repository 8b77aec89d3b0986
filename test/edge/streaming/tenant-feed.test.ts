import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { POSTGRES_READ_MS } from "../../../shared/timing.ts";
import { FeedReads } from "../../../edge/streaming/feed-reads.ts";
import { FEED_SEATS } from "../../../edge/streaming/seats.ts";
import { TenantFeed } from "../../../edge/streaming/tenant-feed.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { feedReader } from "../test-relay.ts";
import { FakeJournalWriter } from "../test-stores.ts";
import { Viewer } from "../../services/viewer.ts";
import { until } from "../../services/waiting.ts";

const FEED = "/api/v2/events/stream";
let app: TestApp;
let tenants = 0;
const viewers: Viewer[] = [];
beforeAll(async () => {
  app = await startApp();
});
afterEach(() => {
  for (const viewer of viewers.splice(0)) viewer.leave();
});
afterAll(() => app.stop());

async function watch(key: string, headers: Record<string, string> = {}, query = ""): Promise<Viewer> {
  return keep(new Viewer(await app.call("GET", FEED + query, { key, headers })));
}

/** Closes the viewer after the test. */
function keep(viewer: Viewer): Viewer {
  viewers.push(viewer);
  return viewer;
}

/** What a viewer received: run, number and text of each event. */
const received = ({ frames }: Viewer) =>
  frames.map(({ data }) => `${String(data["run_id"])}.${String(data["seq"])} ${String(data["text"])}`);

/** Waits until a viewer has at least so many events. */
const untilReceived = (viewer: Viewer, events: number) =>
  viewer.until(({ frames }) => frames.length >= events);

const newTenant = () => `feed${++tenants}`;

async function running(tenant_id: string): Promise<FakeJournalWriter> {
  const writer = new FakeJournalWriter(
    app.stores,
    await startRun(app, { body: { message: "hi", tenant_id } }),
  );
  await writer.claim();
  return writer;
}

/** Writes an entry whose statement began `secondsAgo` and which is committed now. */
async function commitLate(writer: FakeJournalWriter, text: string, secondsAgo: number): Promise<void> {
  writer.seq += 1;
  await app.stores.sql`
    insert into journal (run_id, seq, events_n, attempt, kind, events, at)
    values (${writer.run}, ${writer.seq}, 1, 1, 'note', ${JSON.stringify({ type: "llm_delta", text })},
      now() - ${secondsAgo}::float8 * interval '1 second')`;
}

const microseconds = (ms: number) => String(ms * 1000);

describe("a tenant's feed", () => {
  test("sends the events of all runs of its tenant, and no event of another tenant", async () => {
    const tenant = newTenant();
    const [runA, runB, ofOtherTenant] = [
      await running(tenant),
      await running(tenant),
      await running(newTenant()),
    ];
    await runA.text("before");
    const feed = await watch(await app.stores.key(tenant));
    for (const writer of [runA, ofOtherTenant, runB]) await writer.text("hello");
    await runA.text("again");
    await untilReceived(feed, 3);
    expect(received(feed)).toEqual([`${runA.run}.2 hello`, `${runB.run}.1 hello`, `${runA.run}.3 again`]);
    expect(feed.text).toMatch(/^retry: 1000\n\nid: \d{16}\n\nid: \d{16}\ndata: {/);
  });

  test("sends no event twice, although every query reads some of the past again", async () => {
    const tenant = newTenant();
    const writer = await running(tenant);
    const feed = await watch(await app.stores.key(tenant));
    // The query that finds an event reads those before it again.
    for (const [i, text] of ["a", "b", "c", "d"].entries()) {
      await writer.text(text);
      await untilReceived(feed, i + 1);
    }
    expect(received(feed).map((event) => event.at(-1))).toEqual(["a", "b", "c", "d"]);
  });

  test("resumes 15 seconds before the id of a viewer that reconnects, and misses no event", async () => {
    const tenant = newTenant();
    const writer = await running(tenant);
    const key = await app.stores.key(tenant);
    for (const [text, secondsAgo] of [
      ["20 s", 20],
      ["14 s", 14],
      ["3 s", 3],
    ] as const)
      await commitLate(writer, text, secondsAgo);
    const first = await watch(key, { "last-event-id": microseconds(Date.now() - 15_000) });
    await untilReceived(first, 3);
    const id = first.frames[2]?.id ?? "";
    first.leave();
    await writer.text("meanwhile");
    const second = await watch(key, { "last-event-id": id });
    await untilReceived(second, 3);
    // The id is 3 s old; 15 s before it is 18 s ago.
    expect(received(second).map((event) => event.split(".")[1])).toEqual(["2 14 s", "3 3 s", "4 meanwhile"]);
    const third = await watch(key, {}, `?last_event_id=${id}`);
    await untilReceived(third, 3);
    expect(received(third)).toEqual(received(second));
  });

  test("sends an entry that was committed after an entry of a later time", async () => {
    const tenant = newTenant();
    const [slow, quick] = [await running(tenant), await running(tenant)];
    const feed = await watch(await app.stores.key(tenant), {
      "last-event-id": microseconds(Date.now()),
    });
    await quick.text("quick");
    await untilReceived(feed, 1);
    await commitLate(slow, "late", 3);
    await untilReceived(feed, 2);
    expect(received(feed)).toEqual([`${quick.run}.1 quick`, `${slow.run}.1 late`]);
  });

  test("reads more than a page of one time, and hours of the past, without a gap and without a repetition", async () => {
    const tenant = newTenant();
    const writer = await running(tenant);
    await app.stores.sql`
      insert into journal (run_id, seq, events_n, attempt, kind, events, at)
      select ${writer.run}, n, 1, 1, 'note', '{"type":"llm_delta","text":"x"}',
        now() - case when n <= 1200 then interval '2 hours' else interval '1 hour' end
      from generate_series(1, 1300) n`;
    const feed = await watch(await app.stores.key(tenant), {
      "last-event-id": microseconds(Date.now() - 2 * 3600_000),
    });
    await untilReceived(feed, 1300);
    // What is written now comes after all that a further page of the past would repeat.
    writer.seq = 1300;
    await writer.text("x", false);
    await untilReceived(feed, 1301);
    expect(received(feed)).toEqual(Array.from({ length: 1301 }, (_, i) => `${writer.run}.${i + 1} x`));
  });

  test.each(["0", "0-0", ""])("treats the id %j as no id", async (id) => {
    const answer = await app.call("GET", FEED, { headers: { "last-event-id": id } });
    expect(keep(new Viewer(answer)).status).toBe(200);
  });

  test.each([
    ["letters", "abc"],
    ["an id of a run's own stream", "1780499750067-3"],
    ["too long", "12345678901234567"],
    ["more than a day old", microseconds(Date.now() - 25 * 3600_000)],
  ])("refuses an id that no feed has sent: %s", async (_, id) => {
    const answer = await app.call("GET", FEED, { headers: { "last-event-id": id } });
    expect([answer.status, (await bodyOf(answer)).code]).toEqual([400, "bad_event_id"]);
  });
});

describe("access to a feed", () => {
  test("a platform key sees all tenants, or only the tenant of `tenant_id`", async () => {
    const [first, second] = [newTenant(), newTenant()];
    const [ofFirst, ofSecond] = [await running(first), await running(second)];
    const all = await watch(app.platformKey);
    const narrowed = await watch(app.platformKey, {}, `?tenant_id=${second}`);
    await ofFirst.text("one");
    await ofSecond.text("two");
    await untilReceived(all, 2);
    await untilReceived(narrowed, 1);
    expect(received(narrowed)).toEqual([`${ofSecond.run}.1 two`]);
  });

  test("the key may be in the query; a key without the scope, or for another tenant, is refused", async () => {
    const tenant = newTenant();
    const status = async (query: string, key: string | null) =>
      (await app.call("GET", FEED + query, { key })).status;
    const answer = await app.call("GET", `${FEED}?token=${await app.stores.key(tenant)}`, { key: null });
    expect(keep(new Viewer(answer)).ended).toBe(false);
    expect(await status("", null)).toBe(401);
    expect(await status("", await app.stores.key(tenant, ["runs:write"]))).toBe(403);
    expect(await status("?tenant_id=another", await app.stores.key(tenant))).toBe(403);
  });
});

describe("a feed's viewers", () => {
  const timing = { pollMs: 20, keepaliveMs: 100 };
  /** A feed that counts its queries, by whether they catch up on the past. */
  async function counted(tenantId: string) {
    const tenant = TenantId.parse(tenantId);
    const reader = feedReader(app.stores.sql, tenant);
    const queries = { polls: 0, pages: 0, atOnce: 0, most: 0 };
    const feed = new TenantFeed(
      {
        clock: () => {
          queries.polls += 1;
          return reader.clock();
        },
        async page(...args) {
          queries.pages += 1;
          queries.most = Math.max(queries.most, (queries.atOnce += 1));
          try {
            return await reader.page(...args);
          } finally {
            queries.atOnce -= 1;
          }
        },
      },
      await reader.clock(),
      timing,
    );
    const join = (lastUs: number | null = null, signal = new AbortController().signal) =>
      keep(new Viewer(new Response(feed.join(lastUs, signal, () => {}).body)));
    return { feed, join, queries };
  }

  test("share one poll, however many they are, and each gets every event once", async () => {
    const tenant = newTenant();
    const scribe = await running(tenant);
    const { join, queries } = await counted(tenant);
    const many = Array.from({ length: 50 }, () => join());
    await until("the feed polls", () => queries.polls > 1);
    const { polls, pages } = queries;
    const startedMs = performance.now();
    await until("the feed has polled ten times", () => queries.polls >= polls + 10);
    // At most one poll each 20 ms, each with one page, however many viewers there are.
    const most = (performance.now() - startedMs) / timing.pollMs + 1;
    expect(queries.polls - polls).toBeLessThanOrEqual(most);
    expect(queries.pages - pages).toBeLessThanOrEqual(queries.polls - polls + 1);
    for (const text of ["a", "b", "c"]) await scribe.text(text);
    await Promise.all(many.map((viewer) => untilReceived(viewer, 3)));
    // The query that finds this event reads the three again.
    await scribe.text("d");
    await Promise.all(many.map((viewer) => untilReceived(viewer, 4)));
    for (const viewer of many)
      expect(received(viewer).map((event) => event.at(-1))).toEqual(["a", "b", "c", "d"]);
  });

  test("that reconnect catch up one query at a time, without a gap before the live events and without a repetition", async () => {
    const tenant = newTenant();
    const scribe = await running(tenant);
    await app.stores.sql`
      insert into journal (run_id, seq, events_n, attempt, kind, events, at)
      select ${scribe.run}, n, 1, 1, 'note', '{"type":"llm_delta","text":"x"}', now() - (2001 - n) * interval '1 second'
      from generate_series(1, 2000) n`;
    scribe.seq = 2_000;
    const { join, queries } = await counted(tenant);
    const live = join();
    const back = Array.from({ length: 10 }, () => join((Date.now() - 1_990_000) * 1_000));
    for (let i = 0; i < 20; i++) {
      const { pages } = queries;
      await scribe.text(`live ${i}`, false);
      await until("another query", () => queries.pages > pages);
    }
    await Promise.all(back.map((viewer) => viewer.until(({ frames }) => frames.at(-1)?.data.seq === 2_020)));
    // The poll, and one viewer that catches up.
    expect(queries.most).toBeLessThanOrEqual(2);
    for (const viewer of back) {
      const seqs = viewer.frames.map(({ data }) => Number(data.seq));
      expect(seqs).toEqual(Array.from({ length: seqs.length }, (_, i) => 2_021 - seqs.length + i));
      expect(seqs.length).toBeGreaterThan(1_990);
    }
    await live.until(({ frames }) => frames.length === 20);
  });

  // Fails when the end of a wait clears its timer: workerd keeps each cleared timer for as long as the object lives.
  test("end the reading of Postgres when the last one has left, whether by abort or by cancel, and clear no timer", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const clear = vi.spyOn(globalThis, "clearTimeout");
    try {
      let polls = 0;
      const reader = { clock: async () => ++polls, page: async () => ({ entries: [], more: false }) };
      const feed = new TenantFeed(reader, 0, timing);
      const leaving = new AbortController();
      const aborted = keep(new Viewer(new Response(feed.join(null, leaving.signal, () => {}).body)));
      const cancelled = keep(
        new Viewer(new Response(feed.join(null, new AbortController().signal, () => {}).body)),
      );
      await vi.advanceTimersByTimeAsync(10 * timing.pollMs);
      expect(polls).toBeGreaterThan(5);
      leaving.abort();
      await aborted.end();
      const withOne = polls;
      await vi.advanceTimersByTimeAsync(10 * timing.pollMs);
      expect(polls).toBeGreaterThan(withOne + 5);
      cancelled.leave();
      await until("the last viewer has left", () => cancelled.ended);
      await vi.advanceTimersByTimeAsync(timing.pollMs);
      const after = polls;
      await vi.advanceTimersByTimeAsync(10 * timing.pollMs);
      expect(polls).toBe(after);
      expect(clear).not.toHaveBeenCalled();
    } finally {
      clear.mockRestore();
      vi.useRealTimers();
    }
  });

  test("get comment lines, each with an id to resume from, while there are no events", async () => {
    const { join } = await counted(newTenant());
    const viewer = join();
    await viewer.until(({ text }) => text.match(/: keepalive\nid: \d{16}\n\n/g)?.length === 3);
    const ids = [...viewer.text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    expect((ids.at(-1) ?? 0) - (ids[0] ?? 0)).toBeGreaterThan(250_000);
  });

  test("get all events of a burst of many pages, in pages of at most 256 KiB", async () => {
    const tenant = newTenant();
    const scribe = await running(tenant);
    const { join, queries } = await counted(tenant);
    const viewer = join();
    await until("the feed polls", () => queries.polls > 0);
    await app.stores.sql`
      insert into journal (run_id, seq, events_n, attempt, kind, events)
      select ${scribe.run}, n, 1, 1, 'note', '{"type":"llm_delta","text":"' || repeat('x', 28000) || '"}'
      from generate_series(1, 300) n`;
    await viewer.until(({ frames }) => frames.length === 300);
    expect(viewer.frames.map(({ data }) => data.seq)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
    const page = await feedReader(app.stores.sql, TenantId.parse(tenant)).page(0, Date.now() * 2_000);
    expect(page.more).toBe(true);
    expect(page.entries.reduce((sum, { events }) => sum + events.length, 0)).toBeLessThan(300_000);
  });

  test("of one key beyond its share get 429, and another key of the tenant is served", async () => {
    const tenant = newTenant();
    const [greedy, other] = [await app.stores.key(tenant), await app.stores.key(tenant)];
    const answers = [];
    for (let i = 0; i < FEED_SEATS.key + 1; i++) answers.push(await app.call("GET", FEED, { key: greedy }));
    const refused = answers.at(-1);
    expect([refused?.status, refused?.headers.get("retry-after")]).toEqual([429, "10"]);
    for (const answer of answers.slice(0, -1)) keep(new Viewer(answer));
    const feed = await watch(other);
    const scribe = await running(tenant);
    await scribe.text("hello");
    await untilReceived(feed, 1);
  });

  test("end when their key is revoked", async () => {
    const tenant = newTenant();
    const [revoked, other] = [await app.stores.key(tenant), await app.stores.key(tenant)];
    const [ends, stays] = [await watch(revoked), await watch(other)];
    await app.stores.sql`
      update api_keys set revoked_at = now() where key_hash = sha256(convert_to(${revoked}, 'utf8'))`;
    await ends.end();
    expect(stays.ended).toBe(false);
  });
});

// Fails when viewers that catch up wait for the hour by which the clock of the host was set forward during a query.
test("a clock that is set forward delays the reads of a feed by no more than the longest query", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const page = vi.fn(async () => {
    vi.setSystemTime(Date.now() + 3_600_000);
    return { entries: [], more: false };
  });
  const reads = new FeedReads({ clock: async () => 0, page }, new AbortController().signal);
  const span = { fromUs: 0, toUs: 1, isOpen: () => true, take: async () => {} };
  await reads.inTurn(span);
  const second = reads.inTurn(span);
  await vi.advanceTimersByTimeAsync(POSTGRES_READ_MS);
  expect(page).toHaveBeenCalledTimes(2);
  await second;
});
