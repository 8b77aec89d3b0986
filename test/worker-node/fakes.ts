import type { StateStore } from "../../shared/store/state.ts";

const refuse = async (): Promise<never> => {
  throw new Error("this test did not expect to be asked that");
};

/** A truth that answers nothing: a test puts the verbs in that it is about. */
export const refusingStore: StateStore = {
  claim: refuse,
  claimDirectly: refuse,
  lookUp: refuse,
  handBack: refuse,
  flush: refuse,
  findCommitted: refuse,
  readWaits: refuse,
  beat: refuse,
  orchestration: refuse,
  definition: refuse,
  takeLock: refuse,
  scanBounds: refuse,
  dueRuns: refuse,
  runningRuns: refuse,
  listOwners: refuse,
  reclaimFromSilent: refuse,
  overdueRuns: refuse,
  reclaimOverdue: refuse,
  changedLimits: refuse,
  countWithoutWakeup: refuse,
  claimDeliveries: refuse,
  readEvents: refuse,
  saveTry: refuse,
  releaseDeliveries: refuse,
  countDueDeliveries: refuse,
  deleteExpired: refuse,
};
