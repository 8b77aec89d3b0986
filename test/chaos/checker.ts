/** Checks the promises of docs/architecture.md 2 and the invariants of docs/protocol.md 14 against the evidence of a chaos run. */
import { answersAreHeardOnce, everyAcceptedAnswerCounts, nobodyIsAnsweredFor } from "./checks/answers.ts";
import {
  everyLifeEndsOnce,
  everyResultIsOne,
  journalsTile,
  chargesAreUsage,
  nothingIsWrittenTwice,
} from "./checks/journal.ts";
import { keysAreAskedAgainOnlyAfterACrash, resultsWereAnswered } from "./checks/outside.ts";
import { limitsHold, nothingStalls, redisIsEmpty, runsAreTakenOver } from "./checks/rest.ts";
import {
  cancelledStaysCancelled,
  everyAcceptedRunEnds,
  everyResponseIsExpected,
  everyFailureIsADeadLetter,
  everyRequestIsOneRun,
} from "./checks/runs.ts";
import { nothingIsShownTooEarly, viewersSeeTheJournal } from "./checks/viewers.ts";
import { everyDeliveryIsReceived, everyEndHasADelivery, everyWebhookIsSigned } from "./checks/webhooks.ts";
import type { Violation } from "./checks/violation.ts";
import type { Evidence } from "./evidence.ts";

const checks: readonly ((evidence: Evidence) => Violation[])[] = [
  everyAcceptedRunEnds,
  everyRequestIsOneRun,
  everyResponseIsExpected,
  everyFailureIsADeadLetter,
  cancelledStaysCancelled,
  everyAcceptedAnswerCounts,
  nobodyIsAnsweredFor,
  answersAreHeardOnce,
  everyEndHasADelivery,
  everyDeliveryIsReceived,
  everyWebhookIsSigned,
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
  nothingStalls,
];

export function check(evidence: Evidence): Violation[] {
  return checks.flatMap((one) => one(evidence));
}
