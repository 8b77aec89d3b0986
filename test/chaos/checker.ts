/** The promises of docs/architecture.md 2 and the invariants of docs/protocol.md 14, checked against what a chaos run left behind. */
import { answersAreHeardOnce, everyTakenAnswerIsHeard, nobodyIsAnsweredFor } from "./checks/answers.ts";
import {
  everyLifeEndsOnce,
  everyResultIsOne,
  journalsTile,
  chargesAreUsage,
  nothingIsWrittenTwice,
} from "./checks/journal.ts";
import { keysAreAskedAgainOnlyAfterACrash, resultsWereAnswered } from "./checks/outside.ts";
import { limitsHold, nothingStandsStill, redisIsEmpty, runsAreTakenOver } from "./checks/rest.ts";
import {
  cancelledStaysCancelled,
  everyAcceptedRunEnds,
  everyAnswerIsMeant,
  everyFailureIsADeadLetter,
  everyRequestIsOneRun,
} from "./checks/runs.ts";
import { nothingIsShownTooEarly, viewersSeeTheJournal } from "./checks/viewers.ts";
import { everyDeliveryIsTaken, everyEndHasADelivery, whatIsToldIsSigned } from "./checks/webhooks.ts";
import type { Violation } from "./checks/violation.ts";
import type { Evidence } from "./evidence.ts";

const checks: readonly ((evidence: Evidence) => Violation[])[] = [
  everyAcceptedRunEnds,
  everyRequestIsOneRun,
  everyAnswerIsMeant,
  everyFailureIsADeadLetter,
  cancelledStaysCancelled,
  everyTakenAnswerIsHeard,
  nobodyIsAnsweredFor,
  answersAreHeardOnce,
  everyEndHasADelivery,
  everyDeliveryIsTaken,
  whatIsToldIsSigned,
  journalsTile,
  nothingIsWrittenTwice,
  everyLifeEndsOnce,
  everyResultIsOne,
  chargesAreUsage,
  viewersSeeTheJournal,
  nothingIsShownTooEarly,
  keysAreAskedAgainOnlyAfterACrash,
  resultsWereAnswered,
  redisIsEmpty,
  limitsHold,
  runsAreTakenOver,
  nothingStandsStill,
];

export function check(evidence: Evidence): Violation[] {
  return checks.flatMap((one) => one(evidence));
}
