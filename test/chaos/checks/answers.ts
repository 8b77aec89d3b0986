/** An answer that the API accepted counts, and no other answer does. */
import { EndRecord } from "../../../shared/contracts/journal-entry.ts";
import type { Evidence, JournalRow } from "../evidence.ts";
import { checkpointOf } from "./journal.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

const PROMISE = "an accepted answer counts";

/** docs/protocol.md 5.6: of several answers to a question one is accepted, and the run goes on with that one. */
export function everyAcceptedAnswerCounts({ acceptedAnswers, journal }: Evidence): Violation[] {
  const byRun = Map.groupBy(journal, ({ run_id }) => run_id);
  const byQuestion = Map.groupBy(acceptedAnswers, ({ run, question }) => `${run} ${question}`);
  const acceptedTwice = Array.from(byQuestion.values())
    .filter((answers) => new Set(answers.map(({ signed }) => signed)).size > 1)
    .map(([first]) => broken(PROMISE, `two answers to ${first?.question} were accepted`, first?.run));
  const unused = acceptedAnswers.flatMap(({ run, signed }) => {
    const entries = byRun.get(run) ?? [];
    const used = entries.flatMap((entry) => signatureOf(entry) ?? []);
    if (used.includes(signed) || entries.some(endsBefore)) return [];
    return [
      broken(
        PROMISE,
        `${signed} was accepted, and the run went on with ${used.join(", ") || "nothing"}`,
        run,
      ),
    ];
  });
  return [...acceptedTwice, ...unused];
}

/** Codes of ends that may come before the run goes on with its answer: its timeout, the third crash. A cancel may come too. */
const ENDS_BEFORE_ANSWER = new Set(["run_timeout", "poison"]);

function endsBefore({ kind, output }: JournalRow): boolean {
  if (kind !== "end" || output === null) return false;
  const { status, error } = EndRecord.parse(JSON.parse(output));
  return status === "cancelled" || (error !== null && ENDS_BEFORE_ANSWER.has(error.code));
}

/** docs/architecture.md 2.6: a run goes on with an answer that a client gave, or fails without one. */
export function everyHumanResultHasAnAnswer({ journal }: Evidence): Violation[] {
  return journal.flatMap((entry) => {
    const checkpoint = checkpointOf(entry);
    if (checkpoint?.type !== "human" || signatureOf(entry) !== null) return [];
    return [broken(PROMISE, `the result at ${entry.seq} holds no answer`, entry.run_id)];
  });
}

/** An answer belongs to one question: no other step and no other visit goes on with it. */
export function eachAnswerCountsOnce({ journal }: Evidence): Violation[] {
  const used = journal.flatMap((entry) => {
    const signed = signatureOf(entry);
    return signed === null ? [] : [{ signed, run: entry.run_id }];
  });
  return Array.from(Map.groupBy(used, ({ signed }) => signed))
    .filter(([, times]) => times.length > 1)
    .map(([signed, [first]]) => broken(PROMISE, `${signed} counted twice`, first?.run));
}

/** The signature of the answer in a human step's result; null for other entries. */
function signatureOf(entry: JournalRow): string | null {
  const response = checkpointOf(entry)?.set["human_response"];
  if (typeof response !== "object" || response === null || Array.isArray(response)) return null;
  return typeof response["signed"] === "string" ? response["signed"] : null;
}
