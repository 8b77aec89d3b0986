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

type Lost = "request" | "response";

/** Sends a statement to Postgres through a link whose trap springs at `request`. @returns whether a reply came */
async function sendTrapped(
  request: string,
  lost: Lost,
  send: (sql: Sql) => Promise<unknown>,
): Promise<boolean> {
  const link = new Link("edge-postgres", Number(new URL(store.url).port));
  const sprung = Promise.withResolvers<void>();
  const spring = (): boolean => {
    sprung.resolve();
    return true;
  };
  link.traps.push({ request, lost, spring });
  const through = new URL(store.url);
  through.host = `127.0.0.1:${await link.listen()}`;
  const sql = postgres(through.href, { ...connectionOptions, max: 1 });
  const replied = send(sql).then(
    () => true,
    () => false,
  );
  await sprung.promise;
  await sql.end({ timeout: 0 });
  await link.close();
  return replied;
}

describe("a trap for an accept", () => {
  // Fails when a trap does not find the statement of an accept, or springs between that statement and its commit.
  test.each([
    { lost: "request", leaves: 0, where: "before the commit leaves no run" },
    { lost: "response", leaves: 1, where: "after the commit leaves a run, and no reply" },
  ] as const)("$where", async ({ lost, leaves }) => {
    const run = newRun();
    const replied = await sendTrapped(ACCEPT, lost, (sql) => acceptRuns(sql, [run]));
    const rows = await store.sql`select from runs where run_id = ${run.run_id}`;
    expect([replied, rows.length]).toEqual([false, leaves]);
  });
});

describe("a trap for an answer", () => {
  // Fails when a trap does not find the statement of an answer, or springs between that statement and its commit.
  test.each([
    { lost: "request", state: "open", where: "before the commit leaves the question open" },
    {
      lost: "response",
      state: "answered",
      where: "after the commit leaves it answered, and no reply",
    },
  ] as const)("$where", async ({ lost, state }) => {
    const run = await store.running();
    await flush(store.sql, [parkOf(run, [waitFor("w1")])]);
    const answer = JSON.stringify({ decision: "approve", signed: "answer-1" });
    const replied = await sendTrapped(ANSWER, lost, (sql) =>
      answerWait(sql, acme, run.run_id, "w1", answer, "ann"),
    );
    const [wait] = await waitsOf(store.sql, run.run_id);
    expect([replied, wait?.state]).toEqual([false, state]);
  });
});
