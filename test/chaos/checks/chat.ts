/** The history of a chat session has each accepted message and each answer, and its turns run one after the other. */
import { CHAT } from "../definitions.ts";
import type { Evidence } from "../evidence.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

const PROMISE = "a chat history is whole";

/** The end of a run's id orders the turns of a session. */
const baseOf = (run: string): string => run.slice(-13);

/** After a 202 the message is in the history, as it was sent; the answer of a completed turn follows it. */
export function everyTurnIsInItsHistory({ requests, runs, messages }: Evidence): Violation[] {
  const byId = new Map(runs.map((run) => [run.run_id, run]));
  const messageAt = new Map(messages.map((row) => [`${row.session_id} ${row.base} ${row.n}`, row]));
  return requests
    .filter(({ orchestration, accepted }) => orchestration === CHAT && accepted.length > 0)
    .flatMap(({ id, accepted: [run = ""] }) => {
      const row = byId.get(run);
      if (!row?.chat_session) return [broken(PROMISE, `${id} was accepted and is no turn`, run)];
      const turn = `${row.chat_session} ${baseOf(run)}`;
      const message = messageAt.get(`${turn} 0`)?.content;
      if (message !== id)
        return [broken(PROMISE, `it holds ${message ?? "nothing"} where ${id} was sent`, run)];
      const answer = messageAt.get(`${turn} 2`);
      if (row.status !== "completed" || (answer !== undefined && answer.content !== "" && !answer.cut))
        return [];
      return [broken(PROMISE, "the turn has completed, and its answer is missing or cut", run)];
    });
}

/** A turn begins when the one before it has ended. A client's retry gives a turn a second end, which may come later. */
export function turnsEndInOrder({ runs, requests }: Evidence): Violation[] {
  const retried = new Set(requests.filter(({ retried: n }) => n > 0).flatMap(({ accepted }) => accepted));
  const turns = runs.filter(({ chat_session, run_id }) => chat_session !== null && !retried.has(run_id));
  return Array.from(Map.groupBy(turns, ({ chat_session }) => chat_session)).flatMap(([, session]) => {
    const inOrder = session.toSorted((a, b) => (baseOf(a.run_id) < baseOf(b.run_id) ? -1 : 1));
    return inOrder.flatMap(({ run_id, status, ended_ms }, i) => {
      const before = inOrder[i - 1];
      // A turn that waits may be cancelled before its time.
      if (!before || status === "cancelled" || ended_ms === null || ended_ms >= (before.ended_ms ?? Infinity))
        return [];
      return [broken("turns run one after the other", `it ended before ${before.run_id}`, run_id)];
    });
  });
}
