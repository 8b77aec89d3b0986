import type { Outbox } from "../../worker-node/tools/built-in/send-email.ts";
import type { Files } from "../../worker-node/engine/ports.ts";
import { Prices } from "../../worker-node/models/prices.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { ChildStarts } from "../../worker-node/execution/execution-state.ts";

const refuse = async (): Promise<never> => {
  throw new Error("this test did not expect this call");
};

/** The queue of a worker whose runs start no others. */
export const noChildren: ChildStarts = { admit: refuse, giveBack: () => {}, notify: () => {} };
/** Files that refuse every call. */
export const refusingFiles: Files = { write: refuse, read: refuse, list: refuse };

/** An outbox that refuses every call. */
export const refusingOutbox: Outbox = { senderOf: refuse, queue: refuse };

/** A store that refuses every call. A test replaces the verbs that it is about. */
export const refusingStore: StateStore = {
  claim: refuse,
  claimDirectly: refuse,
  readInput: refuse,
  readStoredPage: refuse,
  readRunSnapshots: refuse,
  handBack: refuse,
  flush: refuse,
  findCommitted: refuse,
  readWaits: refuse,
  startChild: refuse,
  cancelChild: refuse,
  abandonTrack: refuse,
  reserveInBudgets: refuse,
  releaseReservation: refuse,
  wakeBudgetWaits: refuse,
  readModelPrices: refuse,
  readCutText: refuse,
  readProviderLimits: refuse,
  readProviderKeys: refuse,
  readKeptAnswer: refuse,
  keepAnswers: refuse,
  beat: refuse,
  readPinnedDefinition: refuse,
  readDefinition: refuse,
  readMcpServer: refuse,
  listSuccessors: refuse,
  repairSingletons: refuse,
  claimSchedules: refuse,
  startTick: refuse,
  saveFired: refuse,
  readMcpVersions: refuse,
  claimMcpListings: refuse,
  saveMcpListing: refuse,
  saveMcpTask: refuse,
  forgetMcpTask: refuse,
  claimEndedMcpTasks: refuse,
  readChatHistory: refuse,
  saveChatSummary: refuse,
  readTurnText: refuse,
  wakeTurns: refuse,
  takeLock: refuse,
  takeStarts: refuse,
  readScanBounds: refuse,
  listDueRuns: refuse,
  listRunningRuns: refuse,
  listOwners: refuse,
  reclaimFromSilent: refuse,
  listOverdueRuns: refuse,
  reclaimOverdue: refuse,
  listChangedLimits: refuse,
  raiseLimitVersions: refuse,
  countWithoutWakeup: refuse,
  claimDeliveries: refuse,
  readEvents: refuse,
  saveDeliveryTry: refuse,
  releaseDeliveries: refuse,
  queueMail: refuse,
  readMailSender: refuse,
  claimMails: refuse,
  endMail: refuse,
  saveMailTry: refuse,
  countDueDeliveries: refuse,
  countRuns: refuse,
  saveCounters: refuse,
  readRunFiles: refuse,
  reserveFile: refuse,
  readSweep: refuse,
  saveSweep: refuse,
  findOrphans: refuse,
  takeExpiredObjects: refuse,
  takeExpiredUploads: refuse,
  forgetUploads: refuse,
  queueEndedRuns: refuse,
  claimJournals: refuse,
  readJournals: refuse,
  recordSegment: refuse,
  postponeJournals: refuse,
  readArchivePlace: refuse,
  takeUnusedSegments: refuse,
  forgetSegments: refuse,
  readSealed: refuse,
  replaceSealed: refuse,
  saveKeyUses: refuse,
  deleteExpired: refuse,
};

/** The built-in prices; steps without a model call the demo model. */
export function builtInPrices(): Prices {
  return new Prices(
    async () => [],
    () => "demo/fast",
  );
}
