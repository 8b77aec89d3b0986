/** Histories that once showed a defect, of the product or of a check. They are played first. */
import type { Command } from "./commands.ts";
import type { History } from "./history.ts";
import type { Verb } from "./network.ts";

const calm = { seed: 0, workers: 2, slots: 1, limit: 1, queued: 100 };
const trap = (process: string, verb: Verb): Command => ({
  do: "trap",
  atMs: 0,
  trap: { process, verbs: [verb], is: "fail", ms: 50 },
});

/** Postgres was away while a step read its tool's definition: that used up the step's tries, and the run failed. */
const toolNotFoundMeanwhile: History = {
  ...calm,
  commands: [
    { do: "away", atMs: 18_014, store: "postgres", ms: 20_000, restarts: false },
    { do: "away", atMs: 62, store: "redis", ms: 500, restarts: false },
    { do: "submit", atMs: 0, tenant: 0, orchestration: "prints", lane: "default" },
    { do: "submit", atMs: 60, tenant: 0, orchestration: "flaky", lane: "default" },
    { do: "freeze", atMs: 510, nth: 0, ms: 25_000 },
    { do: "kill", atMs: 11_001, nth: 0 },
    { do: "freeze", atMs: 510, nth: 1, ms: 25_000 },
    { do: "freeze", atMs: 510, nth: 0, ms: 3_000 },
  ],
};

/** A cancel came between the decision to park and its flush: the park was committed although its worker had not seen the cancel. */
const cancelDuringPark: History = {
  ...calm,
  commands: [
    trap("w", "flush"),
    { do: "cancel", atMs: 10_538, nth: 0 },
    { do: "submit", atMs: 8_531, tenant: 0, orchestration: "flaky", lane: "default" },
    { do: "freeze", atMs: 3_527, nth: 3, ms: 3_000 },
    { do: "kill", atMs: 8_536, nth: 3 },
    trap("w", "claimDirectly"),
    { do: "submit", atMs: 8_532, tenant: 0, orchestration: "prints", lane: "default" },
    trap("edge", "pushLimits"),
    { do: "freeze", atMs: 10_550, nth: 0, ms: 3_000 },
  ],
};

/** Another worker's claim of a silent worker's run failed, and the run was released: its slot was free while it was executed. */
const slotOfASilentOwner: History = {
  ...calm,
  queued: 2,
  commands: [
    { do: "submit", atMs: 0, tenant: 0, orchestration: "killer", lane: "default" },
    { ...trap("w", "claim"), atMs: 533 },
    { do: "submit", atMs: 0, tenant: 0, orchestration: "prints", lane: "default" },
    trap("edge", "admit"),
    { do: "trap", atMs: 0, trap: { process: "edge", verbs: ["accept"], is: "freeze_after", ms: 50 } },
    { ...trap("w", "pushLimits"), atMs: 28 },
  ],
};

/** A claim reached Postgres after its worker had given up on it and reconciled its lease: two runs ran in the one slot of their tenant. */
const lateClaim: History = {
  ...calm,
  commands: [
    { do: "trap", atMs: 0, trap: { process: "w", verbs: ["claim"], is: "late", ms: 3_000 } },
    { do: "submit", atMs: 0, tenant: 0, orchestration: "prints", lane: "default" },
    { do: "submit", atMs: 0, tenant: 0, orchestration: "long", lane: "default" },
  ],
};

/** A worker was frozen while another claimed directly. It then claimed from the queue, which did not know of that run. */
const claimAfterSilence: History = {
  ...calm,
  queued: 2,
  commands: [
    { do: "retry", atMs: 13_190, nth: 0 },
    { do: "submit", atMs: 13_193, tenant: 0, orchestration: "prints", lane: "default" },
    { do: "trap", atMs: 7_034, trap: { process: "w", verbs: ["claimJobs"], is: "freeze_after", ms: 14_000 } },
    { do: "freeze", atMs: 0, nth: 0, ms: 3_000 },
    trap("w", "claimJobs"),
    { ...trap("w", "beat"), atMs: 18_001 },
    { do: "away", atMs: 13_199, store: "redis", ms: 9_000, restarts: false },
    { do: "submit", atMs: 7_163, tenant: 0, orchestration: "tired", lane: "default" },
  ],
};

/** A worker was stopped between its claim in Redis and the one in Postgres, which passed the limit when it arrived. */
const claimIsOvertaken: History = {
  ...calm,
  slots: 1,
  commands: [
    { do: "trap", atMs: 5_500, trap: { process: "w", verbs: ["claim"], is: "freeze", ms: 14_000 } },
    { ...trap("edge", "enqueue"), atMs: 5_500 },
    { do: "submit", atMs: 6_000, tenant: 0, orchestration: "long", lane: "default" },
    { do: "submit", atMs: 6_400, tenant: 0, orchestration: "long", lane: "default" },
    { do: "away", atMs: 6_700, store: "redis", ms: 20_000, restarts: false },
  ],
};

/**
 * A worker died between its claim in Redis and the one in Postgres. Another run of the tenant had been claimed directly
 * meanwhile. When the lease of the first run lapsed, it was claimed beside the second one, in the tenant's only slot.
 */
const leaseOfADeadClaimer: History = {
  ...calm,
  commands: [
    { do: "trap", atMs: 5_500, trap: { process: "w", verbs: ["claim"], is: "kill", ms: 0 } },
    { ...trap("edge", "enqueue"), atMs: 5_500 },
    { do: "submit", atMs: 6_000, tenant: 0, orchestration: "long", lane: "default" },
    { do: "submit", atMs: 6_400, tenant: 0, orchestration: "long", lane: "default" },
    { do: "away", atMs: 6_700, store: "redis", ms: 9_000, restarts: false },
    { do: "away", atMs: 15_701, store: "redis", ms: 3_000, restarts: false },
  ],
};

/**
 * A child was cancelled, so its parent failed. A client's retry of the parent started that child anew: both are charged, each once.
 * The product was right and the check was wrong: it counted the charges of one life.
 */
const childStartedAnew: History = {
  ...calm,
  seed: 1,
  queued: 2,
  commands: [
    { do: "submit", atMs: 132, tenant: 0, orchestration: "rests", lane: "default" },
    { do: "retry", atMs: 9_832, nth: 0 },
    { do: "cancel", atMs: 9_794, nth: 4 },
    { ...trap("w", "reset"), atMs: 21 },
    { do: "submit", atMs: 132, tenant: 1, orchestration: "family", lane: "default" },
    { ...trap("w", "advanceScan"), atMs: 186 },
    { ...trap("w", "listDueRuns"), atMs: 5_046 },
  ],
};

/** A cancel came while a turn of an agent was on its way: the end charged the answer that the turn had charged. */
const cancelDuringTurn: History = {
  ...calm,
  seed: 881_159_979,
  queued: 2,
  commands: [
    { do: "submit", atMs: 24_722, tenant: 1, orchestration: "agent", lane: "default" },
    { do: "cancel", atMs: 24_946, nth: 5 },
  ],
};

export const known: [History][] = [
  [toolNotFoundMeanwhile],
  [cancelDuringPark],
  [slotOfASilentOwner],
  [lateClaim],
  [claimAfterSilence],
  [claimIsOvertaken],
  [leaseOfADeadClaimer],
  [childStartedAnew],
  [cancelDuringTurn],
];
