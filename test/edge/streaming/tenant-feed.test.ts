import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { openTenantFeed } from "../../../edge/streaming/tenant-feed.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { FakeJournalWriter } from "../test-stores.ts";
import { Viewer } from "../../services/viewer.ts";

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
  viewer.until(({ frames }) => frames.length >= events, 6_000);

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
    const [one, two, other] = [await running(tenant), await running(tenant), await running(newTenant())];
    await one.text("before");
    const feed = await watch(await app.stores.key(tenant));
    for (const writer of [one, other, two]) await writer.text("hello");
    await one.text("again");
    await untilReceived(feed, 3);
    expect(received(feed)).toEqual([`${one.run}.2 hello`, `${two.run}.1 hello`, `${one.run}.3 again`]);
    expect(feed.text).toMatch(/^retry: 1000\n\nid: \d{16}\n\nid: \d{16}\ndata: {/);
  });

  test("sends no event twice, although every query reads some of the past again", async () => {
    const tenant = newTenant();
    const writer = await running(tenant);
    const feed = await watch(await app.stores.key(tenant));
    for (const text of ["a", "b", "c"]) {
      await writer.text(text);
      await sleep(1_100);
    }
    expect(received(feed).map((event) => event.at(-1))).toEqual(["a", "b", "c"]);
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
    await sleep(1_100);
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
    await sleep(1_100);
    expect(received(feed)).toEqual(Array.from({ length: 1300 }, (_, i) => `${writer.run}.${i + 1} x`));
  });

  test.each([
    ["letters", "abc"],
    ["an id of a run's own stream", "1780499750067-3"],
    ["too long", "12345678901234567"],
    ["more than a day old", microseconds(Date.now() - 25 * 3600_000)],
  ])("refuses an id that no feed has given: %s", async (_, id) => {
    const answer = await app.call("GET", FEED, { headers: { "last-event-id": id } });
    expect([answer.status, (await bodyOf(answer)).code]).toEqual([400, "bad_event_id"]);
  });
});

describe("access to a feed", () => {
  test("a platform key sees all tenants, or only the tenant of `tenant_id`", async () => {
    const [first, second] = [newTenant(), newTenant()];
    const [one, two] = [await running(first), await running(second)];
    const all = await watch(app.platformKey);
    const narrowed = await watch(app.platformKey, {}, `?tenant_id=${second}`);
    await one.text("one");
    await two.text("two");
    await untilReceived(all, 2);
    await untilReceived(narrowed, 1);
    expect(received(narrowed)).toEqual([`${two.run}.1 two`]);
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

describe("a feed's stream", () => {
  test("sends no more queries after its viewer has left, whether by abort or by cancel", async () => {
    let queries = 0;
    const counted = new Proxy(app.stores.sql, {
      apply(target, self, args) {
        queries += 1;
        return Reflect.apply(target, self, args);
      },
    });
    const tenant = TenantId.parse(newTenant());
    const timing = { pollMs: 20, keepaliveMs: 60_000 };
    const leaving = new AbortController();
    const aborted = await openTenantFeed(counted, tenant, undefined, leaving.signal, timing);
    const cancelled = await openTenantFeed(counted, tenant, undefined, new AbortController().signal, timing);
    await sleep(200);
    const before = queries;
    expect(before).toBeGreaterThan(10);
    leaving.abort();
    await cancelled.body?.cancel();
    await sleep(200);
    const after = queries;
    await sleep(200);
    expect(queries).toBe(after);
    expect(await aborted.text()).toMatch(/^retry/);
  });

  test("sends comment lines, each with an id to resume from, while there are no events", async () => {
    const tenant = TenantId.parse(newTenant());
    const timing = { pollMs: 20, keepaliveMs: 100 };
    const signal = new AbortController().signal;
    const feed = keep(new Viewer(await openTenantFeed(app.stores.sql, tenant, undefined, signal, timing)));
    await feed.until(({ text }) => text.match(/: keepalive\nid: \d{16}\n\n/g)?.length === 3);
    const ids = [...feed.text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    expect((ids.at(-1) ?? 0) - (ids[0] ?? 0)).toBeGreaterThan(250_000);
  });
});
