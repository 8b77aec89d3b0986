import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acceptRuns } from "../../shared/store/runs/runs.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { flush } from "../../shared/store/journal/flush.ts";
import { answerWait } from "../../shared/store/runs/waits.ts";
import { parkOf, waitFor, waitsOf } from "../shared/store/relatives.ts";
import { acme, newRun, openStore } from "../shared/store/world.ts";
import type { Store } from "../shared/store/world.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { Link } from "./link.ts";
import { ACCEPT, ANSWER } from "./traps.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

type Lost = "question" | "answer";

/** Asks Postgres through a link whose trap springs at `asked`. @returns whether the asker was told */
async function askTrapped(asked: string, lost: Lost, ask: (sql: Sql) => Promise<unknown>): Promise<boolean> {
  const link = new Link("edge-postgres", Number(new URL(store.url).port));
  const sprung = Promise.withResolvers<void>();
  const spring = (): boolean => {
    sprung.resolve();
    return true;
  };
  link.traps.push({ request: asked, lost, spring });
  const through = new URL(store.url);
  through.host = `127.0.0.1:${await link.listen()}`;
  const sql = postgres(through.href, { ...connectionOptions, max: 1 });
  const told = ask(sql).then(
    () => true,
    () => false,
  );
  await sprung.promise;
  await sql.end({ timeout: 0 });
  await link.close();
  return told;
}

describe("who dies in an accept", () => {
  // Red when: a trap is blind to the statement of an accept, or springs between that statement and its commit.
  test.each([
    { lost: "question", leaves: 0, where: "before the commit leaves no run" },
    { lost: "answer", leaves: 1, where: "after the commit leaves one, and nobody was told" },
  ] as const)("$where", async ({ lost, leaves }) => {
    const run = newRun();
    const told = await askTrapped(ACCEPT, lost, (sql) => acceptRuns(sql, [run]));
    const rows = await store.sql`select from runs where run_id = ${run.run_id}`;
    expect([told, rows.length]).toEqual([false, leaves]);
  });
});

describe("who dies in an answer", () => {
  // Red when: a trap is blind to the statement of an answer, or springs between that statement and its commit.
  test.each([
    { lost: "question", state: "open", where: "before the commit leaves the question open" },
    { lost: "answer", state: "answered", where: "after the commit leaves it answered, and nobody was told" },
  ] as const)("$where", async ({ lost, state }) => {
    const run = await store.running();
    await flush(store.sql, [parkOf(run, [waitFor("w1")])]);
    const answer = JSON.stringify({ decision: "approve", signed: "answer-1" });
    const told = await askTrapped(ANSWER, lost, (sql) =>
      answerWait(sql, acme, run.run_id, "w1", answer, "ann"),
    );
    const [wait] = await waitsOf(store.sql, run.run_id);
    expect([told, wait?.state]).toEqual([false, state]);
  });
});
