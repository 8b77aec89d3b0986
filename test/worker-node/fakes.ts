import type { StateStore } from "../../shared/store/state.ts";

const refuse = async (): Promise<never> => {
  throw new Error("this test did not expect to be asked that");
};

/** A truth that answers nothing: a test puts the verbs in that it is about. */
export const refusingStore: StateStore = {
  claim: refuse,
  claimDirectly: refuse,
  readRunSnapshots: refuse,
  handBack: refuse,
  flush: refuse,
  findCommitted: refuse,
  readWaits: refuse,
  beat: refuse,
  readPinnedDefinition: refuse,
  readDefinition: refuse,
  takeLock: refuse,
  readScanBounds: refuse,
  listDueRuns: refuse,
  listRunningRuns: refuse,
  listOwners: refuse,
  reclaimFromSilent: refuse,
  listOverdueRuns: refuse,
  reclaimOverdue: refuse,
  listChangedLimits: refuse,
  countWithoutWakeup: refuse,
  claimDeliveries: refuse,
  readEvents: refuse,
  saveDeliveryTry: refuse,
  releaseDeliveries: refuse,
  countDueDeliveries: refuse,
  deleteExpired: refuse,
};
