/** Checks the promises of docs/architecture.md 2 and the invariants of docs/protocol.md 14 against the evidence of a chaos run. */
import {
  eachAnswerCountsOnce,
  everyAcceptedAnswerCounts,
  everyHumanResultHasAnAnswer,
} from "./checks/answers.ts";
import { everyTurnIsInItsHistory, turnsEndInOrder } from "./checks/chat.ts";
import {
  childrenAreChargedOnce,
  childrenEndBeforeTheirParents,
  eachWaitStartsOneChild,
} from "./checks/children.ts";
import {
  everyLifeEndsOnce,
  eachVisitHasOneResult,
  journalsAreGapFree,
  chargesAreUsage,
  nothingIsWrittenTwice,
} from "./checks/journal.ts";
import { callsAreRepeatedOnlyAfterACrash, everyResultHasItsResponse } from "./checks/outside.ts";
import { redisIsEmpty } from "./checks/redis.ts";
import { limitsHold, nothingStalls, runsAreTakenOver } from "./checks/samples.ts";
import {
  cancelledStaysCancelled,
  everyAcceptedRunEnds,
  everyResponseIsExpected,
  eachFailureHasADeadLetter,
  eachRequestMakesOneRun,
} from "./checks/runs.ts";
import { noFrameComesBeforeItsCommit, viewersReceiveTheJournal } from "./checks/viewers.ts";
import { everyDeliveryIsReceived, everyEndHasADelivery, everyWebhookIsSigned } from "./checks/webhooks.ts";
import type { Violation } from "./checks/violation.ts";
import type { Evidence } from "./evidence.ts";

const checks: readonly ((evidence: Evidence) => Violation[])[] = [
  everyAcceptedRunEnds,
  eachRequestMakesOneRun,
  everyResponseIsExpected,
  eachFailureHasADeadLetter,
  cancelledStaysCancelled,
  everyAcceptedAnswerCounts,
  everyHumanResultHasAnAnswer,
  eachAnswerCountsOnce,
  everyEndHasADelivery,
  everyDeliveryIsReceived,
  everyWebhookIsSigned,
  journalsAreGapFree,
  nothingIsWrittenTwice,
  everyLifeEndsOnce,
  eachVisitHasOneResult,
  chargesAreUsage,
  eachWaitStartsOneChild,
  childrenAreChargedOnce,
  childrenEndBeforeTheirParents,
  everyTurnIsInItsHistory,
  turnsEndInOrder,
  viewersReceiveTheJournal,
  noFrameComesBeforeItsCommit,
  callsAreRepeatedOnlyAfterACrash,
  everyResultHasItsResponse,
  redisIsEmpty,
  limitsHold,
  runsAreTakenOver,
  nothingStalls,
];

export function check(evidence: Evidence): Violation[] {
  return checks.flatMap((checkOf) => checkOf(evidence));
}
