/** What a person was told that it counts, counts; and nothing counts that nobody said. */
import { EndRecord } from "../../../shared/contracts/journal-entry.ts";
import type { Evidence, JournalRow } from "../evidence.ts";
import { checkpointOf } from "./journal.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

const PROMISE = "an answer that was taken is heard";

/** docs/protocol.md 5.6: of several answers to a question one wins, and the run goes on with that one. */
export function everyAcceptedAnswerCounts({ acceptedAnswers: taken, journal }: Evidence): Violation[] {
  const byRun = Map.groupBy(journal, ({ run_id }) => run_id);
  const byQuestion = Map.groupBy(taken, ({ run, question }) => `${run} ${question}`);
  const twice = Array.from(byQuestion.values())
    .filter((answers) => new Set(answers.map(({ signed }) => signed)).size > 1)
    .map(([first]) => broken(PROMISE, `two answers to ${first?.question} were taken`, first?.run));
  const unheard = taken.flatMap(({ run, signed }) => {
    const entries = byRun.get(run) ?? [];
    const heard = entries.flatMap((entry) => signatureOf(entry) ?? []);
    if (heard.includes(signed) || entries.some(endsBefore)) return [];
    return [broken(PROMISE, `${signed} was taken, the run heard ${heard.join(", ") || "nothing"}`, run)];
  });
  return [...twice, ...unheard];
}

/** What may come before the answer is heard: a cancel, the end of the run's time, the third death of its worker. */
const BEFORE = new Set(["run_timeout", "poison"]);

function endsBefore({ kind, output }: JournalRow): boolean {
  if (kind !== "end" || output === null) return false;
  const { status, error } = EndRecord.parse(JSON.parse(output));
  return status === "cancelled" || (error !== null && BEFORE.has(error.code));
}

/** docs/architecture.md 2.6: a run that asked goes on with an answer that somebody gave, or fails for want of one. */
export function nobodyIsAnsweredFor({ journal }: Evidence): Violation[] {
  return journal.flatMap((entry) => {
    const checkpoint = checkpointOf(entry);
    if (checkpoint?.type !== "human" || signatureOf(entry) !== null) return [];
    return [broken(PROMISE, `the result at ${entry.seq} holds no answer`, entry.run_id)];
  });
}

/** Each answer is to one question: no other step, and no other visit, goes on with it. */
export function answersAreHeardOnce({ journal }: Evidence): Violation[] {
  const heard = journal.flatMap((entry) => {
    const signed = signatureOf(entry);
    return signed === null ? [] : [{ signed, run: entry.run_id }];
  });
  return Array.from(Map.groupBy(heard, ({ signed }) => signed))
    .filter(([, times]) => times.length > 1)
    .map(([signed, [first]]) => broken(PROMISE, `${signed} was heard twice`, first?.run));
}

/** How the answer is signed that a human step's result holds. */
function signatureOf(entry: JournalRow): string | null {
  const said = checkpointOf(entry)?.set["human_response"];
  if (typeof said !== "object" || said === null || Array.isArray(said)) return null;
  return typeof said["signed"] === "string" ? said["signed"] : null;
}
