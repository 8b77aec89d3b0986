import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { openTenantFeed } from "../../../edge/streaming/tenant-feed.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { Scribe } from "../world.ts";

const FEED = "/api/v2/events/stream";
let app: TestApp;
let tenants = 0;
const open: Feed[] = [];
beforeAll(async () => {
  app = await startApp();
});
afterEach(() => Promise.all(open.splice(0).map((feed) => feed.leave())));
afterAll(() => app.stop());

/** A viewer of a feed, with what it was told: run, number and text of each event. */
class Feed {
  readonly #reader: ReadableStreamDefaultReader<string>;
  text = "";
  ended = false;

  constructor(answer: Response) {
    if (answer.status !== 200 || !answer.body) throw new Error(`the feed answered ${answer.status}`);
    this.#reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    open.push(this);
    void this.#read();
  }

  static async of(key: string, headers: Record<string, string> = {}, query = ""): Promise<Feed> {
    return new Feed(await app.call("GET", FEED + query, { key, headers }));
  }

  get ids(): string[] {
    return [...this.text.matchAll(/^id: (\d+)\ndata: /gm)].map((match) => match[1] ?? "");
  }

  get told(): string[] {
    const found = this.text.matchAll(/^data: {"run_id":"(\w+)","seq":(\d+),.*?"text":"(.*?)"/gm);
    return [...found].map(([, run, seq, text]) => `${run}.${seq} ${text}`);
  }

  async until(holds: (feed: Feed) => boolean, timeoutMs = 6_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!holds(this)) {
      if (Date.now() > deadline) throw new Error(`not so within ${timeoutMs} ms: ${this.text.slice(-500)}`);
      await sleep(20);
    }
  }

  async leave(): Promise<void> {
    await this.#reader.cancel();
  }

  async #read(): Promise<void> {
    for (let read = await this.#reader.read(); !read.done; read = await this.#reader.read())
      this.text += read.value;
    this.ended = true;
  }
}

const newTenant = () => `feed${++tenants}`;

async function running(tenant_id: string): Promise<Scribe> {
  const scribe = new Scribe(app.world, await startRun(app, { body: { message: "hi", tenant_id } }));
  await scribe.claim();
  return scribe;
}

/** Writes an entry whose statement began `secondsAgo` and is committed now. */
async function late(scribe: Scribe, text: string, secondsAgo: number): Promise<void> {
  scribe.seq += 1;
  await app.world.sql`
    insert into journal (run_id, seq, events_n, attempt, kind, events, at)
    values (${scribe.run}, ${scribe.seq}, 1, 1, 'note', ${JSON.stringify({ type: "llm_delta", text })},
      now() - ${secondsAgo}::float8 * interval '1 second')`;
}

const microseconds = (ms: number) => String(ms * 1000);

describe("the feed of a tenant", () => {
  test("tells the events of all its runs, and none of another tenant", async () => {
    const tenant = newTenant();
    const [one, two, other] = [await running(tenant), await running(tenant), await running(newTenant())];
    await one.text("before");
    const feed = await Feed.of(await app.world.key(tenant));
    for (const scribe of [one, other, two]) await scribe.text("hello");
    await one.text("again");
    await feed.until(({ told }) => told.length === 3);
    expect(feed.told).toEqual([`${one.run}.2 hello`, `${two.run}.1 hello`, `${one.run}.3 again`]);
    expect(feed.text).toMatch(/^retry: 1000\n\nid: \d{16}\n\nid: \d{16}\ndata: {/);
  });

  test("tells nothing twice, however often it looks back", async () => {
    const tenant = newTenant();
    const scribe = await running(tenant);
    const feed = await Feed.of(await app.world.key(tenant));
    for (const text of ["a", "b", "c"]) {
      await scribe.text(text);
      await sleep(1_100);
    }
    expect(feed.told.map((told) => told.at(-1))).toEqual(["a", "b", "c"]);
  });

  test("begins, for who comes back, 15 seconds before his id and misses nothing", async () => {
    const tenant = newTenant();
    const scribe = await running(tenant);
    const key = await app.world.key(tenant);
    for (const [text, secondsAgo] of [
      ["20 s", 20],
      ["14 s", 14],
      ["3 s", 3],
    ] as const)
      await late(scribe, text, secondsAgo);
    const first = await Feed.of(key, { "last-event-id": microseconds(Date.now() - 15_000) });
    await first.until(({ told }) => told.length === 3);
    const id = first.ids[2] ?? "";
    await first.leave();
    await scribe.text("meanwhile");
    const second = await Feed.of(key, { "last-event-id": id });
    await second.until(({ told }) => told.length >= 3);
    // 3 s ago less 15 s is 18 s ago.
    expect(second.told.map((told) => told.split(".")[1])).toEqual(["2 14 s", "3 3 s", "4 meanwhile"]);
    const third = await Feed.of(key, {}, `?last_event_id=${id}`);
    await third.until(({ told }) => told.length >= 3);
    expect(third.told).toEqual(second.told);
  });

  test("tells an entry that was committed after one of a later time", async () => {
    const tenant = newTenant();
    const [slow, quick] = [await running(tenant), await running(tenant)];
    const feed = await Feed.of(await app.world.key(tenant), {
      "last-event-id": microseconds(Date.now()),
    });
    await quick.text("quick");
    await feed.until(({ told }) => told.length === 1);
    await sleep(1_100);
    await late(slow, "late", 3);
    await feed.until(({ told }) => told.length === 2);
    expect(feed.told).toEqual([`${quick.run}.1 quick`, `${slow.run}.1 late`]);
  });

  test("goes through more than a page of one time, and through hours, without a gap and without a double", async () => {
    const tenant = newTenant();
    const scribe = await running(tenant);
    await app.world.sql`
      insert into journal (run_id, seq, events_n, attempt, kind, events, at)
      select ${scribe.run}, n, 1, 1, 'note', '{"type":"llm_delta","text":"x"}',
        now() - case when n <= 1200 then interval '2 hours' else interval '1 hour' end
      from generate_series(1, 1300) n`;
    const feed = await Feed.of(await app.world.key(tenant), {
      "last-event-id": microseconds(Date.now() - 2 * 3600_000),
    });
    await feed.until(({ told }) => told.length >= 1300);
    await sleep(1_100);
    expect(feed.told).toEqual(Array.from({ length: 1300 }, (_, i) => `${scribe.run}.${i + 1} x`));
  });

  test.each([
    ["letters", "abc"],
    ["an id of a run's own stream", "1780499750067-3"],
    ["too long", "12345678901234567"],
    ["more than a day old", microseconds(Date.now() - 25 * 3600_000)],
  ])("refuses an id that is not of it: %s", async (_, id) => {
    const answer = await app.call("GET", FEED, { headers: { "last-event-id": id } });
    expect([answer.status, (await bodyOf(answer)).code]).toEqual([400, "bad_event_id"]);
  });
});

describe("who may watch", () => {
  test("a platform key sees all tenants, or the one that it names", async () => {
    const [mine, other] = [newTenant(), newTenant()];
    const [one, two] = [await running(mine), await running(other)];
    const all = await Feed.of(app.platformKey);
    const narrowed = await Feed.of(app.platformKey, {}, `?tenant_id=${other}`);
    await one.text("one");
    await two.text("two");
    await all.until(({ told }) => told.length === 2);
    await narrowed.until(({ told }) => told.length === 1);
    expect(narrowed.told).toEqual([`${two.run}.1 two`]);
  });

  test("the key may stand in the query; without the scope, or for another tenant, it is refused", async () => {
    const tenant = newTenant();
    const status = async (query: string, key: string | null) =>
      (await app.call("GET", FEED + query, { key })).status;
    const answer = await app.call("GET", `${FEED}?token=${await app.world.key(tenant)}`, { key: null });
    expect(new Feed(answer).ended).toBe(false);
    expect(await status("", null)).toBe(401);
    expect(await status("", await app.world.key(tenant, ["runs:write"]))).toBe(403);
    expect(await status("?tenant_id=another", await app.world.key(tenant))).toBe(403);
  });
});

describe("a stream", () => {
  test("asks no more when its viewer has left, by either sign", async () => {
    const asked = { n: 0 };
    const counted = new Proxy(app.world.sql, {
      apply(target, self, args) {
        asked.n += 1;
        return Reflect.apply(target, self, args);
      },
    });
    const tenant = TenantId.parse(newTenant());
    const timing = { pollMs: 20, keepaliveMs: 60_000 };
    const left = new AbortController();
    const aborted = await openTenantFeed(counted, tenant, undefined, left.signal, timing);
    const cancelled = await openTenantFeed(counted, tenant, undefined, new AbortController().signal, timing);
    await sleep(200);
    const before = asked.n;
    expect(before).toBeGreaterThan(10);
    left.abort();
    await cancelled.body?.cancel();
    await sleep(200);
    const after = asked.n;
    await sleep(200);
    expect(asked.n).toBe(after);
    expect(await aborted.text()).toMatch(/^retry/);
  });

  test("gives signs of life, with an id to come back with, while nothing happens", async () => {
    const tenant = TenantId.parse(newTenant());
    const timing = { pollMs: 20, keepaliveMs: 100 };
    const signal = new AbortController().signal;
    const feed = new Feed(await openTenantFeed(app.world.sql, tenant, undefined, signal, timing));
    await feed.until(({ text }) => text.match(/: keepalive\nid: \d{16}\n\n/g)?.length === 3);
    const ids = [...feed.text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
    expect((ids.at(-1) ?? 0) - (ids[0] ?? 0)).toBeGreaterThan(250_000);
  });
});
