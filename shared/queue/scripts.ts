import admit from "./admit.lua" with { type: "text" };
import claim from "./claim.lua" with { type: "text" };
import common from "./common.lua" with { type: "text" };
import enqueue from "./enqueue.lua" with { type: "text" };
import finish from "./finish.lua" with { type: "text" };
import index from "./index.lua" with { type: "text" };
import list from "./list.lua" with { type: "text" };
import pushLimits from "./push-limits.lua" with { type: "text" };
import release from "./release.lua" with { type: "text" };
import renew from "./renew.lua" with { type: "text" };
import repairRing from "./repair-ring.lua" with { type: "text" };
import reset from "./reset.lua" with { type: "text" };
import restoreLeases from "./restore-leases.lua" with { type: "text" };
import stats from "./stats.lua" with { type: "text" };
import { defineGrowingScript, defineScript } from "./run-script.ts";

/** One script for each verb of the queue: common.lua followed by the verb's file. */
export const scripts = {
  admit: defineGrowingScript(common, admit),
  enqueue: defineScript(common, enqueue),
  claim: defineScript(common, claim),
  renew: defineScript(common, renew),
  restoreLeases: defineScript(common, restoreLeases),
  release: defineScript(common, release),
  finish: defineScript(common, finish),
  pushLimits: defineScript(common, pushLimits),
  stats: defineScript(common, stats),
  repairRing: defineScript(common, repairRing),
  list: defineScript(common, list),
  reset: defineScript(common, reset),
  index: defineScript(common, index),
};
