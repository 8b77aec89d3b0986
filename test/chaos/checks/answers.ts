/** What a person was told that it counts, counts; and nothing counts that nobody said. */
import { EndRecord } from "../../../shared/contracts/journal.ts";
import type { Evidence, JournalRow } from "../evidence.ts";
import { checkpointOf } from "./journal.ts";
import { broken } from "./violation.ts";
import type { Violation } from "./violation.ts";

const PROMISE = "an answer that was taken is heard";

/** PROTOCOL.md 5.6: of several answers one wins, and the run goes on with that one. */
export function everyTakenAnswerIsHeard({ taken, journal }: Evidence): Violation[] {
  const byRun = Map.groupBy(journal, ({ run_id }) => run_id);
  return taken.flatMap(({ run, signed }) => {
    const entries = byRun.get(run) ?? [];
    const heard = entries.flatMap((entry) => signatureOf(entry) ?? []);
    if (heard.includes(signed) || entries.some(endsOtherwise)) return [];
    return [broken(PROMISE, `${signed} was taken, the run heard ${heard.join(", ") || "nothing"}`, run)];
  });
}

/** A cancel, a timeout of the run or the third death of its worker may come before the answer is heard. */
function endsOtherwise({ kind, output }: JournalRow): boolean {
  if (kind !== "end" || output === null) return false;
  const { status, error } = EndRecord.parse(JSON.parse(output));
  return status === "cancelled" || (error !== null && error.code !== "human_timeout");
}

/** DESIGN.md promise 6: a run that asked goes on with an answer, or fails for want of one. */
export function nobodyIsAnsweredFor({ journal }: Evidence): Violation[] {
  return journal.flatMap((entry) => {
    const checkpoint = checkpointOf(entry);
    if (checkpoint?.type !== "human" || signatureOf(entry) !== null) return [];
    return [broken(PROMISE, `the result at ${entry.seq} holds no answer`, entry.run_id)];
  });
}

/** How the answer is signed that a human step's result holds. */
function signatureOf(entry: JournalRow): string | null {
  const said = checkpointOf(entry)?.set["human_response"];
  if (typeof said !== "object" || said === null || Array.isArray(said)) return null;
  return typeof said["signed"] === "string" ? said["signed"] : null;
}
