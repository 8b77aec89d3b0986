import type { StateStore } from "../../shared/store/state.ts";

const refuse = async (): Promise<never> => {
  throw new Error("this test did not expect this call");
};

/** A store that refuses every call. A test replaces the verbs that it is about. */
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
