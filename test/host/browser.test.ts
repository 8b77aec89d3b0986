import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { Proxy } from "../workerd/proxy.ts";
import { npmStart, type System } from "./npm-start.ts";
import { commandsExecutedBy, newerThanFloor } from "./redis-floor.ts";
import { Tabs, type Tab } from "./tab.ts";

const cleanups: (() => Promise<unknown>)[] = [];
let system: System;
let tabs: Tabs;
/** The proxy is between the browser and the second edge; runs are posted to the first edge. */
let proxy: Proxy;
let proxyBase: string;

const watched = {
  name: "Watched",
  entry_step_id: "before",
  steps: [
    {
      id: "before",
      name: "Before",
      type: "print",
      print_content: "1",
      output_key: "one",
      next_step_id: "slow",
    },
    {
      id: "slow",
      name: "Slow",
      type: "llm",
      model: "demo/slow",
      prompt_template: "Go on: {input}",
      output_key: "two",
      next_step_id: "after",
    },
    { id: "after", name: "After", type: "print", print_content: "3", output_key: "three" },
  ],
};

beforeAll(async () => {
  tabs = await Tabs.open();
  cleanups.push(() => tabs.close());
  system = await npmStart(["--edges", "2", "--workers", "2"]);
  cleanups.push(() => system.stop());
  proxy = new Proxy(Number(new URL(system.facts().edges[1] ?? "").port));
  proxyBase = `http://127.0.0.1:${await proxy.listen()}`;
  cleanups.push(() => proxy.close());
  const saved = await system.request(0, "PUT", "/api/v2/orchestrations/orch_watched", watched);
  expect(saved.status).toBe(200);
});
afterAll(async () => {
  for (const cleanup of cleanups) await cleanup();
});

const Token = z.object({ stream_url: z.string() });

/** Starts a run. `url`: its stream as a browser opens it, through the proxy and with a token in the query. */
async function startWatchedRun(message?: string): Promise<{ run: string; url: string }> {
  const { run_id } = await system.run("orch_watched", message);
  const answer = await system.request(0, "POST", `/api/v2/orchestrations/runs/${run_id}/stream-token`);
  const { stream_url } = Token.parse(await answer.json());
  expect(stream_url).toContain("?token=");
  return { run: run_id, url: proxyBase + stream_url };
}

const Stored = z.object({
  events: z.array(z.object({ id: z.string(), event: z.looseObject({ type: z.string() }) })),
});

/** Expects that the tab received each event of the run's log once and in order, from the first to `done`. */
async function expectAllEvents(tab: Tab, run: string): Promise<void> {
  const { ids, data } = await tab.look();
  const answer = await system.request(0, "GET", `/api/v2/orchestrations/runs/${run}/events?limit=1000`);
  const { events } = Stored.parse(await answer.json());
  expect(ids).toEqual(events.map(({ id }) => id));
  expect(data.map((text) => JSON.parse(text))).toEqual(events.map(({ event }) => event));
  expect(ids.map((id) => Number(id.split("-")[1]))).toEqual(ids.map((_, index) => index + 1));
  expect(events.at(-1)?.event.type).toBe("done");
}

const untilClosed = (tab: Tab) =>
  expect.poll(async () => (await tab.look()).state, { timeout: 100_000, interval: 100 }).toBe(2);
const untilReceived = (tab: Tab, count: number) =>
  expect
    .poll(async () => (await tab.look()).ids.length, { timeout: 100_000, interval: 20 })
    .toBeGreaterThanOrEqual(count);

/**
 * Waits until another tab has come back twice: after its connection was cut, and after its run's `done`. A tab that
 * reconnected at all would have done so meanwhile, because every stream demands the same pause.
 */
async function untilAnotherReconnects(): Promise<void> {
  const { url } = await startWatchedRun("about 30 words");
  const other = await tabs.watch(url);
  await untilReceived(other, 1);
  proxy.set("refuse");
  await expect.poll(async () => (await other.look()).state, { timeout: 100_000 }).toBe(0);
  proxy.set("open");
  await expect
    .poll(async () => (await other.connections()).length, { timeout: 100_000 })
    .toBeGreaterThanOrEqual(3);
}

// Fails when a terminal run's stream answers 200 to the id of its last event.
test("a browser receives every event once and in order; its reconnect after done gets 204, and it stays closed", async () => {
  const { run, url } = await startWatchedRun();
  const tab = await tabs.watch(url);
  await untilClosed(tab);
  await expectAllEvents(tab, run);
  const { ids } = await tab.look();
  const connections = [
    { status: 200, after: undefined },
    { status: 204, after: ids.at(-1) },
  ];
  expect(await tab.connections()).toEqual(connections);
  await untilAnotherReconnects();
  expect(await tab.connections()).toEqual(connections);
});

// The documentation's React hook closes its EventSource like this.
test("a page that closes its EventSource on done never reconnects", async () => {
  const { run, url } = await startWatchedRun();
  const tab = await tabs.watch(url, true);
  await untilClosed(tab);
  await untilAnotherReconnects();
  expect(await tab.connections()).toEqual([{ status: 200, after: undefined }]);
  await expectAllEvents(tab, run);
});

// Fails when the stream does not read Last-Event-ID.
test("a browser whose connection is cut off reconnects by itself and resumes after its last event", async () => {
  const { run, url } = await startWatchedRun("about 200 words");
  const tab = await tabs.watch(url);
  const positions: (string | undefined)[] = [undefined];
  for (const events of [5, 12]) {
    await untilReceived(tab, events);
    proxy.set("refuse");
    await expect.poll(async () => (await tab.look()).state, { timeout: 100_000 }).toBe(0);
    positions.push((await tab.look()).ids.at(-1));
    proxy.set("open");
  }
  await untilClosed(tab);
  await expectAllEvents(tab, run);
  positions.push((await tab.look()).ids.at(-1));
  const connections = await tab.connections();
  expect(connections.map(({ status }) => status)).toEqual([200, 200, 200, 204]);
  expect(connections.map(({ after }) => after)).toEqual(positions);
});

// The commands of the edge (through its REST front), the relay, the workers and the scripts in the tests above.
test("the system uses no Redis command that is newer than 7.0", async () => {
  const redis = new Redis(system.facts().redis_url, { protocol: 2 });
  try {
    const used = await commandsExecutedBy(redis);
    expect(used).toEqual(expect.arrayContaining(["evalsha", "xadd", "xread", "blpop", "zadd"]));
    expect(await newerThanFloor(redis, used)).toEqual([]);
  } finally {
    redis.disconnect();
  }
});

test("a browser continues after a restart of everything behind it, in the middle of a run", async () => {
  const { run, url } = await startWatchedRun("about 120 words"); // longer than a draining worker waits for a step
  const tab = await tabs.watch(url);
  await untilReceived(tab, 6);
  await system.restart();
  await untilClosed(tab);
  await expectAllEvents(tab, run);
  const { data } = await tab.look();
  expect(data.filter((text) => text.includes('"worker_picked_up"'))).toHaveLength(2);
  const statuses = (await tab.connections()).map(({ status }) => status);
  expect(statuses.slice(0, 2)).toEqual([200, 200]);
  expect(statuses.at(-1)).toBe(204);
});
