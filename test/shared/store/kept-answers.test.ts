/** Kept answers in Postgres: docs/protocol.md 5.26. */
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { MAX_ANSWER_BYTES, keepAnswers, readKeptAnswer } from "../../../shared/store/money/kept-answers.ts";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import { acme, globex, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());
beforeEach(async () => {
  await store.sql`delete from kept_answers`;
});

const hash = (n: number): string => String(n).padStart(64, "0");
const keep = (n: number, answer: string, { tenant = acme, ttl = 60 } = {}) =>
  keepAnswers(store.sql, [{ tenant_id: tenant, request_hash: hash(n), answer, ttl_seconds: ttl }]);
const read = async (n: number, tenant: TenantId = acme, ttl = 60) => {
  const wanted = { tenant_id: tenant, request_hash: hash(n), ttl_seconds: ttl };
  return (await readKeptAnswer(store.sql, wanted))?.answer;
};
const countOf = async (tenant: TenantId): Promise<number> => {
  const [row] = await store.sql`select count(*)::int as n from kept_answers where tenant_id = ${tenant}`;
  return Number(row?.["n"]);
};
const age = (seconds: number) => store.sql`
  update kept_answers set kept_at = kept_at - ${seconds} * interval '1 second',
    expires_at = expires_at - ${seconds} * interval '1 second'`;

test("an answer is read by its tenant alone, and the newest one to a request counts", async () => {
  await keep(1, "first");
  await keep(1, "second");
  expect([await read(1), await read(2), await read(1, globex)]).toEqual(["second", undefined, undefined]);
});

test("an answer is as old as the step that takes it allows, and never older than the step that kept it said", async () => {
  await keep(1, "kept for an hour", { ttl: 3_600 });
  await age(100);
  expect([await read(1, acme, 60), await read(1, acme, 200)]).toEqual([undefined, "kept for an hour"]);
  await age(3_600);
  expect(await read(1, acme, 100_000)).toBeUndefined();
});

test("a tenant keeps 1,000 answers: the oldest go, and no other tenant's", async () => {
  await keep(1, "of globex", { tenant: globex });
  await store.sql`
    insert into kept_answers (tenant_id, request_hash, answer, bytes, kept_at, expires_at)
    select ${acme}, lpad(n::text, 64, '0'), 'x', 1, now() - n * interval '1 second', now() + interval '1 hour'
    from generate_series(1, 1000) n`;
  await keep(0, "newest");
  expect(await countOf(acme)).toBe(1_000);
  expect([await read(0), await read(999, acme, 9_999), await read(1_000, acme, 9_999)]).toEqual([
    "newest",
    "x",
    undefined,
  ]);
  expect(await read(1, globex)).toBe("of globex");
});

test("a tenant keeps 16 MiB of answers", async () => {
  const large = "x".repeat(MAX_ANSWER_BYTES);
  for (let n = 0; n < 70; n += 1) await keep(n, large);
  expect(await countOf(acme)).toBe(64);
  expect([await read(69), await read(5)]).toEqual([large, undefined]);
});

test("several answers of a visit are kept in one statement; of two to one request the last one is kept", async () => {
  const acmeAnswer = { tenant_id: acme, ttl_seconds: 60 };
  await keepAnswers(store.sql, [
    { ...acmeAnswer, request_hash: hash(1), answer: "a" },
    { ...acmeAnswer, request_hash: hash(2), answer: "b" },
    { ...acmeAnswer, request_hash: hash(1), answer: "c" },
  ]);
  expect([await read(1), await read(2)]).toEqual(["c", "b"]);
});

test("retention deletes what is too old, and what belongs to a deleted tenant", async () => {
  await keep(1, "old", { ttl: 1 });
  await age(2);
  await keep(2, "fresh");
  await keep(1, "of globex", { tenant: globex });
  await store.sql`update tenants set deleted_at = now() where tenant_id = ${globex}`;
  await deleteExpired(store.sql);
  expect([await countOf(acme), await read(2), await countOf(globex)]).toEqual([1, "fresh", 0]);
});
