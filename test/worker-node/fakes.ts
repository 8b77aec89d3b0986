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
  walkBounds: refuse,
  dueRuns: refuse,
  runningRuns: refuse,
  owners: refuse,
  takeFromSilent: refuse,
  overdueRuns: refuse,
  takeOverdue: refuse,
  changedLimits: refuse,
  withoutWakeup: refuse,
  claimDeliveries: refuse,
  readEvents: refuse,
  saveTry: refuse,
  releaseDeliveries: refuse,
  countDue: refuse,
  forgetOld: refuse,
};
