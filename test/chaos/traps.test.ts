import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acceptRuns } from "../../shared/store/runs.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { newRun, openStore } from "../store/world.ts";
import type { Store } from "../store/world.ts";
import { Link } from "./link.ts";
import { ACCEPT } from "./traps.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

describe("who dies in an accept", () => {
  // Red when: a trap is blind to the statement of an accept, or springs between that statement and its commit.
  test.each([
    { lost: "question", leaves: 0, where: "before the commit leaves no run" },
    { lost: "answer", leaves: 1, where: "after the commit leaves one, and nobody was told" },
  ] as const)("$where", async ({ lost, leaves }) => {
    const link = new Link("edge-postgres", Number(new URL(store.url).port));
    const sprung = Promise.withResolvers<void>();
    const spring = (): boolean => {
      sprung.resolve();
      return true;
    };
    link.traps.push({ asked: ACCEPT, lost, spring });
    const through = new URL(store.url);
    through.host = `127.0.0.1:${await link.listen()}`;
    const sql = postgres(through.href, { ...connectionOptions, max: 1 });
    const run = newRun();
    const told = acceptRuns(sql, [run]).then(
      () => true,
      () => false,
    );
    await sprung.promise;
    await sql.end({ timeout: 0 });
    await link.close();
    const rows = await store.sql`select from runs where run_id = ${run.run_id}`;
    expect([await told, rows.length]).toEqual([false, leaves]);
  });
});
