import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acceptRuns } from "../../shared/store/runs/accept-runs.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { flush } from "../../shared/store/journal/flush.ts";
import { answerWait } from "../../shared/store/runs/answer-wait.ts";
import { parkEntry, humanWait, readAllWaits } from "../shared/store/family-fixture.ts";
import { acme, openStore } from "../shared/store/store-fixture.ts";
import { newRun } from "../services/new-run.ts";
import type { Store } from "../shared/store/store-fixture.ts";
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
    const run = await store.startRun();
    await flush(store.sql, [parkEntry(run, [humanWait("w1")])]);
    const answer = JSON.stringify({ decision: "approve", signed: "answer-1" });
    const replied = await sendTrapped(ANSWER, lost, (sql) =>
      answerWait(sql, { tenant: acme, run: run.run_id, waitId: "w1", answer, by: "ann" }),
    );
    const [wait] = await readAllWaits(store.sql, run.run_id);
    expect([replied, wait?.state]).toEqual([false, state]);
  });
});
