import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { baseOf, newRunId, newSessionId } from "../../../shared/contracts/ids.ts";
import type { RunId, SessionId } from "../../../shared/contracts/ids.ts";
import type { NewRun, NewTurn } from "../../../shared/contracts/run.ts";
import { deleteExpired } from "../../../shared/store/delete-expired.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { readMessages } from "../../../shared/store/chat/messages.ts";
import { deleteSession, reserveBase } from "../../../shared/store/chat/sessions.ts";
import { wakeTurns } from "../../../shared/store/chat/turn-order.ts";
import { whyNotTaken } from "../../../shared/store/chat/accept-turns.ts";
import { acceptRuns } from "../../../shared/store/runs/accept-runs.ts";
import { acme, openStore, stepEntry } from "./store-fixture.ts";
import { newRun } from "../../services/new-run.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const definition = { owner: "acme", id: "chat:a", version: 1, definition: "{}" };

/** A turn with a base of its own that is submitted in `session`. */
async function newTurn(
  session: SessionId,
  changes: Partial<NewRun> = {},
  policy: Partial<Pick<NewTurn, "rejects_busy" | "interrupts">> = {},
): Promise<NewRun> {
  const opened = { session, tenant: acme, agent: "a", title: "t", definition, base: "1800000000000" };
  const base = await reserveBase(store.sql, opened);
  if (base === null) throw new Error("the session is deleted");
  const turn = { session, definition_tenant: "acme", definition_version: 1, rejects_busy: false, ...policy };
  return newRun({ run_id: newRunId(Number(base)), orchestration_id: "chat:a", turn, ...changes });
}

async function accept(runs: readonly NewRun[]): Promise<{ run: RunId; waits: boolean }[]> {
  const accepted = await acceptRuns(store.sql, runs);
  return [...accepted].map(([run, { delay_ms }]) => ({ run, waits: delay_ms > 0 }));
}

/** Claims a turn and ends it, with an answer. */
async function finish(run: RunId, session: SessionId, content = "ok"): Promise<void> {
  const owner = await store.addWorker();
  const claimed = { ...(await store.claim(owner, run)), owner };
  const reply = { session, content, tool_calls: [], cut: false };
  const end = stepEntry(claimed, { kind: "end", status: "completed", reply });
  expect(await flush(store.sql, [end])).toHaveLength(1);
}

/** Which of the turns are to be cancelled. */
async function cancelledOf(turns: readonly NewRun[]): Promise<boolean[]> {
  const rows = await store.sql<{ run_id: string }[]>`
    select run_id from runs where cancel_requested_at is not null and chat_session is not null`;
  return turns.map(({ run_id }) => rows.some((row) => row.run_id === run_id));
}

describe("a session", () => {
  // Fails when the statement reads the session with a snapshot from before its lock.
  test("takes turns from many statements at once, and only the one with the lowest base does not wait", async () => {
    const session = newSessionId();
    const turns = await Promise.all(Array.from({ length: 20 }, () => newTurn(session)));
    const results = (await Promise.all(turns.map((turn) => accept([turn])))).flat();
    const taken = results.toSorted((a, b) => (baseOf(a.run) < baseOf(b.run) ? -1 : 1));
    expect(taken.map(({ waits }) => waits)).toEqual(taken.map((_, i) => i > 0));
    expect(await store.sql`select from runs where chat_session = ${session}`).toHaveLength(taken.length);
  });

  // Fails when a turn that was refused because its session was busy counts as one of an unknown definition once the session is idle.
  test("was busy for a turn that was not to wait, also when the turn before it has ended since", async () => {
    const session = newSessionId();
    const [first, refused] = [await newTurn(session), await newTurn(session, {}, { rejects_busy: true })];
    await accept([first]);
    expect(await accept([refused])).toEqual([]);
    const { turn } = refused;
    if (turn === undefined) throw new Error("the run is no turn");
    const why = (hasRoom: boolean) => whyNotTaken(store.sql, turn, refused.run_id, hasRoom);
    expect([await why(true), await why(false)]).toEqual(["busy", "busy"]);
    await finish(first.run_id, session);
    // With a queue that may have been full, that is the reason.
    expect([await why(true), await why(false)]).toEqual(["busy", null]);
    const waits = { ...turn, rejects_busy: false };
    expect(await whyNotTaken(store.sql, waits, refused.run_id, true)).toBeNull();
  });

  test("does not take a turn below its newest one, and takes those of one statement in their order", async () => {
    const session = newSessionId();
    const [first, second, third] = [await newTurn(session), await newTurn(session), await newTurn(session)];
    expect(new Set(await accept([third, second]))).toEqual(
      new Set([
        { run: second.run_id, waits: false },
        { run: third.run_id, waits: true },
      ]),
    );
    expect(await accept([first])).toEqual([]);
    expect(await store.sql`select 1 from chat_messages where session_id = ${session}`).toHaveLength(2);
  });

  test("takes a turn that is not to wait only when no other one is open", async () => {
    const session = newSessionId();
    const [first] = await accept([await newTurn(session, {}, { rejects_busy: true })]);
    expect(await accept([await newTurn(session, {}, { rejects_busy: true })])).toEqual([]);
    if (first) await finish(first.run, session);
    expect(await accept([await newTurn(session, {}, { rejects_busy: true })])).toHaveLength(1);
  });

  // Fails when neither the accept nor the end sees the other's commit: the turn would wait a day, for its last resort.
  test("wakes a turn that is accepted while the turn before it ends", async () => {
    const session = newSessionId();
    const [first] = await accept([await newTurn(session)]);
    if (!first) throw new Error("not accepted");
    const other = await store.sql.reserve();
    await other`begin`;
    // The accept has its lock and its snapshot, and is not committed.
    const second = await newTurn(session);
    await acceptRuns(other, [second]);
    await finish(first.run, session);
    expect(await wakeTurns(store.sql, session)).toEqual([]);
    await other`commit`;
    other.release();
    expect(await wakeTurns(store.sql, session)).toMatchObject([{ run_id: second.run_id }]);
  });

  test("that is deleted takes no turn and no answer, and retention removes its row", async () => {
    const session = newSessionId();
    const [first] = await accept([await newTurn(session)]);
    const late = await newTurn(session);
    expect(await deleteSession(store.sql, acme, session)).toBe(true);
    expect(await accept([late])).toEqual([]);
    if (first) await finish(first.run, session);
    expect(await readMessages(store.sql, session, null, 10)).toEqual([]);
    await store.sql`update chat_sessions set deleted_at = now() - interval '2 days' where session_id = ${session}`;
    await deleteExpired(store.sql);
    expect(await store.sql`select 1 from chat_sessions where session_id = ${session}`).toHaveLength(0);
  });

  // Fails when turns of a deleted session go on, and cost money, because the edge died between its delete and its cancels.
  test("that is deleted has its open turns cancelled by the reconciler too", async () => {
    const [session, other] = [newSessionId(), newSessionId()];
    const [running, waiting, kept] = [await newTurn(session), await newTurn(session), await newTurn(other)];
    await accept([running, waiting, kept]);
    await store.claim(await store.addWorker(), running.run_id);
    await deleteSession(store.sql, acme, session);
    expect(await wakeTurns(store.sql, null)).toMatchObject([{ run_id: waiting.run_id, status: "queued" }]);
    expect(await cancelledOf([running, waiting, kept])).toEqual([true, true, false]);
    expect(await wakeTurns(store.sql, null)).toEqual([]);
  });

  // Fails when a person's message waits behind a question for as long as the question may, because the edge died before it cancelled it.
  test("has a turn that waits for a person cancelled when a message came after the question", async () => {
    const session = newSessionId();
    const [asking, before, after] = [await newTurn(session), await newTurn(session), await newTurn(session)];
    await accept([asking, before]);
    await store.sql`update runs set status = 'paused', wake_at = now() + interval '1 hour' where run_id = ${asking.run_id}`;
    await store.sql`insert into waits (run_id, wait_id, kind, step_id) values (${asking.run_id}, 'chat:1', 'human', 'chat')`;
    expect(await wakeTurns(store.sql, null)).toEqual([]);
    await accept([after]);
    expect(await wakeTurns(store.sql, null)).toMatchObject([{ run_id: asking.run_id, status: "queued" }]);
    expect(await cancelledOf([asking, before, after])).toEqual([true, false, false]);
  });

  // Fails when a message that interrupts waits behind all turns before it, because the edge died before it cancelled them.
  test("has the turns before a message that interrupts cancelled by the reconciler too", async () => {
    const session = newSessionId();
    const turns = [await newTurn(session), await newTurn(session)];
    const [next, after] = [await newTurn(session, {}, { interrupts: true }), await newTurn(session)];
    await accept([...turns, next, after]);
    const [running, waiting] = turns;
    if (!running || !waiting) throw new Error("there are two turns");
    await store.claim(await store.addWorker(), running.run_id);
    expect(await wakeTurns(store.sql, null)).toMatchObject([{ run_id: waiting.run_id, status: "queued" }]);
    expect(await cancelledOf([...turns, next, after])).toEqual([true, true, false, false]);
    expect(await wakeTurns(store.sql, null)).toEqual([]);
  });

  // Fails when the answer is written beside the end: a worker that was fenced would add a second answer.
  test("gets the answer of a turn with the end of its run, and from a fenced worker none", async () => {
    const session = newSessionId();
    const [first] = await accept([await newTurn(session)]);
    if (!first) throw new Error("not accepted");
    const owner = await store.addWorker();
    const claimed = { ...(await store.claim(owner, first.run)), owner };
    const reply = { session, content: "\0 text", tool_calls: [{ tool: "t", args: { a: 1 } }], cut: true };
    const end = (attempt: number) =>
      stepEntry({ ...claimed, attempt }, { kind: "end", status: "cancelled", reply });
    expect(await flush(store.sql, [end(0)])).toEqual([]);
    expect(await readMessages(store.sql, session, null, 10)).toHaveLength(1);
    await flush(store.sql, [end(claimed.attempt)]);
    expect((await readMessages(store.sql, session, null, 10))[0]).toMatchObject({
      n: 2,
      content: "\uFFFD text",
      tool_calls: [{ tool: "t", args: { a: 1 } }],
      cut: true,
    });
  });
});
