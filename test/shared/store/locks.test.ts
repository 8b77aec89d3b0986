import { afterAll, beforeAll, expect, test } from "vitest";
import { takeLock } from "../../../shared/store/workers/locks.ts";
import { openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

test("a lock belongs to one holder until its time is over", async () => {
  expect(await takeLock(store.sql, "a", "first", 15_000)).toBe(true);
  expect(await takeLock(store.sql, "a", "second", 15_000)).toBe(false);
  expect(await takeLock(store.sql, "b", "second", 15_000)).toBe(true);
  await store.sql`update locks set until = now() where name = 'a'`;
  expect(await takeLock(store.sql, "a", "second", 15_000)).toBe(true);
  expect(await takeLock(store.sql, "a", "first", 15_000)).toBe(false);
});

// Fails when a clock that was set back keeps the lock of a dead holder for as long as it was set back.
test("a lock that ends further ahead than the longest lock is free", async () => {
  expect(await takeLock(store.sql, "d", "first", 15_000)).toBe(true);
  await store.sql`update locks set until = now() + interval '1 hour' where name = 'd'`;
  expect(await takeLock(store.sql, "d", "second", 15_000)).toBe(true);
});

// Fails when the lock is read by one statement and written by another.
test("of ten holders at once one gets a lock, whether it is new or has lapsed", async () => {
  for (let round = 0; round < 5; round++) {
    const names = Array.from({ length: 10 }, (_, i) => `w${round}.${i}`);
    const taken = await Promise.all(names.map((name) => takeLock(store.sql, "c", name, 15_000)));
    expect(taken.filter(Boolean)).toHaveLength(1);
    await store.sql`update locks set until = now() - interval '1 second' where name = 'c'`;
  }
});
