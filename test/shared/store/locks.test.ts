import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { takeLock } from "../../../shared/store/workers/locks.ts";
import { openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

test("a lock is one holder's until its time is over", async () => {
  expect(await takeLock(store.sql, "a", "first", 15_000)).toBe(true);
  expect(await takeLock(store.sql, "a", "second", 15_000)).toBe(false);
  expect(await takeLock(store.sql, "b", "second", 15_000)).toBe(true);
  expect(await takeLock(store.sql, "a", "first", 100)).toBe(true);
  await sleep(150);
  expect(await takeLock(store.sql, "a", "second", 15_000)).toBe(true);
  expect(await takeLock(store.sql, "a", "first", 15_000)).toBe(false);
});

// Red when: a clock that was set back keeps a lock for as long as it went back, though its holder has died.
test("a lock whose time lies further ahead than anybody asks for is free", async () => {
  expect(await takeLock(store.sql, "d", "first", 15_000)).toBe(true);
  await store.sql`update locks set until = now() + interval '1 hour' where name = 'd'`;
  expect(await takeLock(store.sql, "d", "second", 15_000)).toBe(true);
});

// Red when: it is read before it is written.
test("of ten at once one gets it, a new one as well as one that has lapsed", async () => {
  for (let round = 0; round < 5; round++) {
    const names = Array.from({ length: 10 }, (_, i) => `w${round}.${i}`);
    const got = await Promise.all(names.map((name) => takeLock(store.sql, "c", name, 15_000)));
    expect(got.filter(Boolean)).toHaveLength(1);
    await store.sql`update locks set until = now() - interval '1 second' where name = 'c'`;
  }
});
