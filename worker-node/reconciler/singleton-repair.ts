import { log } from "../../shared/log.ts";
import type { RepairDeps } from "./reconciler-deps.ts";

/**
 * docs/protocol.md 7.12. Guarantee: a singleton key whose holder has ended gets to the run that waits for it within a pass. The
 * runs that a run with `cancel_previous` supersedes are marked, also when the edge that accepted that run has died.
 */
export async function repairSingletons({ store, repairs }: RepairDeps): Promise<void> {
  const { handedOver, superseded } = await store.repairSingletons();
  if (handedOver + superseded === 0) return;
  repairs.singletons += handedOver + superseded;
  log.info("singletons.repaired", { handed_over: handedOver, superseded });
}
