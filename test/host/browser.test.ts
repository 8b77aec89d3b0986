import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { Proxy } from "../workerd/proxy.ts";
import { npmStart, type System } from "./npm-start.ts";
import { commandsGivenTo, newerThanFloor } from "./redis-floor.ts";
import { Tabs, type Tab } from "./tab.ts";

const ends: (() => Promise<unknown>)[] = [];
let system: System;
let tabs: Tabs;
/** Between the browser and the second edge; runs are posted on the first. */
let line: Proxy;
let lineBase: string;

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
  ends.push(() => tabs.close());
  system = await npmStart(["--edges", "2", "--workers", "2"]);
  ends.push(() => system.stop());
  line = new Proxy(Number(new URL(system.facts().edges[1] ?? "").port));
  lineBase = `http://127.0.0.1:${await line.listen()}`;
  ends.push(() => line.close());
  const saved = await system.ask(0, "PUT", "/api/v2/orchestrations/orch_watched", watched);
  expect(saved.status).toBe(200);
}, 120_000);
afterAll(async () => {
  for (const end of ends) await end();
});

const Token = z.object({ stream_url: z.string() });

/** A new run, and its stream as a browser may open it: through the line, with a token in the query. */
async function startWatched(message?: string): Promise<{ run: string; url: string }> {
  const { run_id } = await system.run("orch_watched", message);
  const answer = await system.ask(0, "POST", `/api/v2/orchestrations/runs/${run_id}/stream-token`);
  const { stream_url } = Token.parse(await answer.json());
  expect(stream_url).toContain("?token=");
  return { run: run_id, url: lineBase + stream_url };
}

const Stored = z.object({
  events: z.array(z.object({ id: z.string(), event: z.looseObject({ type: z.string() }) })),
});

/** Each event of the run once and in order, from the first to `done`: as the log of the run has them. */
async function expectWhole(tab: Tab, run: string): Promise<void> {
  const { ids, data } = await tab.look();
  const answer = await system.ask(0, "GET", `/api/v2/orchestrations/runs/${run}/events?limit=1000`);
  const { events } = Stored.parse(await answer.json());
  expect(ids).toEqual(events.map(({ id }) => id));
  expect(data.map((text) => JSON.parse(text))).toEqual(events.map(({ event }) => event));
  expect(ids.map((id) => Number(id.split("-")[1]))).toEqual(ids.map((_, index) => index + 1));
  expect(events.at(-1)?.event.type).toBe("done");
}

const closed = (tab: Tab, withinMs: number) =>
  expect.poll(async () => (await tab.look()).state, { timeout: withinMs, interval: 100 }).toBe(2);
const hasSeen = (tab: Tab, count: number) =>
  expect
    .poll(async () => (await tab.look()).ids.length, { timeout: 15_000, interval: 20 })
    .toBeGreaterThanOrEqual(count);

// Red when: a terminal run's stream answers 200 to the id of its last event.
test("a browser sees every event once and in order; its reconnect after done gets 204, and it stays closed", async () => {
  const { run, url } = await startWatched();
  const tab = await tabs.watch(url);
  await closed(tab, 30_000);
  await expectWhole(tab, run);
  const { ids } = await tab.look();
  const connections = [
    { status: 200, after: undefined },
    { status: 204, after: ids.at(-1) },
  ];
  expect(await tab.connections()).toEqual(connections);
  await sleep(2_500); // more than twice the pause before a reconnect
  expect(await tab.connections()).toEqual(connections);
}, 60_000);

// What the React hook of the documentation does.
test("a page that closes its EventSource on done never comes back", async () => {
  const { run, url } = await startWatched();
  const tab = await tabs.watch(url, true);
  await closed(tab, 30_000);
  await sleep(2_500);
  expect(await tab.connections()).toEqual([{ status: 200, after: undefined }]);
  await expectWhole(tab, run);
}, 60_000);

// Red when: the stream does not read Last-Event-ID.
test("a browser whose connection is cut comes back by itself after the last event it has seen", async () => {
  const { run, url } = await startWatched("about 60 words");
  const tab = await tabs.watch(url);
  const positions: (string | undefined)[] = [undefined];
  for (const events of [5, 12]) {
    await hasSeen(tab, events);
    line.set("refuse");
    await sleep(200);
    positions.push((await tab.look()).ids.at(-1));
    line.set("open");
  }
  await closed(tab, 40_000);
  await expectWhole(tab, run);
  positions.push((await tab.look()).ids.at(-1));
  const connections = await tab.connections();
  expect(connections.map(({ status }) => status)).toEqual([200, 200, 200, 204]);
  expect(connections.map(({ after }) => after)).toEqual(positions);
}, 90_000);

// What the edge (through its REST front), the relay, the workers and the scripts have said in the tests above.
test("all of this needs no command of Redis that is newer than 7.0", async () => {
  const redis = new Redis(system.facts().redis_url, { protocol: 2 });
  try {
    const given = await commandsGivenTo(redis);
    expect(given).toEqual(expect.arrayContaining(["evalsha", "xadd", "xread", "blpop", "zadd"]));
    expect(await newerThanFloor(redis, given)).toEqual([]);
  } finally {
    redis.disconnect();
  }
});

test("a browser outlives a restart of everything behind it, in the middle of a run", async () => {
  const { run, url } = await startWatched("about 120 words"); // longer than a worker that stops waits for it
  const tab = await tabs.watch(url);
  await hasSeen(tab, 6);
  await system.restart();
  await closed(tab, 60_000);
  await expectWhole(tab, run);
  const { data } = await tab.look();
  expect(data.filter((text) => text.includes('"worker_picked_up"'))).toHaveLength(2);
  const statuses = (await tab.connections()).map(({ status }) => status);
  expect(statuses.slice(0, 2)).toEqual([200, 200]);
  expect(statuses.at(-1)).toBe(204);
}, 120_000);
