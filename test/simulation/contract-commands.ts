/** Random commands for Postgres and its model. */
import fc from "fast-check";

const run = fc.nat(2);
const runs = fc.uniqueArray(run, { minLength: 1, maxLength: 3 });
const owner: fc.Arbitrary<number> = fc.constantFrom(0, 0, 1, 2);
const counted = fc.constantFrom<"queue" | "postgres">("queue", "postgres");
/** By how much the fence of a command is behind the row. Mostly 0: then the fence holds. */
const behind = fc.constantFrom(0, 0, 0, 0, 1);

const storeVerb = fc.record(
  {
    do: fc.constantFrom(
      ...([
        "claim",
        "claim",
        "claim",
        "claimDirectly",
        "readRunSnapshots",
        "handBack",
        "findCommitted",
        "beat",
        "beat",
      ] as const),
      ...([
        "takeLock",
        "listDueRuns",
        "listOwners",
        "listRunningRuns",
        "listChangedLimits",
        "reclaimFromSilent",
        "reclaimOverdue",
        "countWithoutWakeup",
        "readWaits",
        "readInput",
        "readStoredPage",
      ] as const),
    ),
    owner,
    runs,
    slots: fc.integer({ min: 1, max: 4 }),
    /** The silences that a claim names. */
    silences: fc.constantFrom(0, 0, 0, 1),
  },
  { requiredKeys: ["do", "owner", "runs", "slots"] },
);
const entry = fc.record({
  run,
  isOwner: fc.constantFrom(true, true, true, false),
  attemptBehind: behind,
  seqBehind: behind,
  signalsBehind: behind,
  kind: fc.constantFrom("note" as const, "step", "step", "turn", "park", "ask", "ask", "askInBranch", "end"),
  /** Results that are committed in the same statement, before it. */
  earlier: fc.constantFrom(0, 0, 1, 2),
  end: fc.constantFrom("completed" as const, "failed", "cancelled"),
});

export const contractCommand = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("accept"),
      tenant: fc.nat(1),
      delayMs: fc.constantFrom(0, 0, 0, 9_100),
      counted,
    }),
  },
  { weight: 9, arbitrary: storeVerb },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("flush"),
      entries: fc.array(entry, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("pass"), ms: fc.constantFrom(1_370, 4_710, 12_930, 61_390) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("cancel"), run }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("answer"), run, wait: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("retry"), run, behind, counted }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("limit"), tenant: fc.nat(1), to: fc.nat(3) }) },
);
export type ContractCommand = typeof contractCommand extends fc.Arbitrary<infer Act> ? Act : never;

const accept: ContractCommand = { do: "accept", tenant: 0, delayMs: 0, counted: "queue" };
const verbArgs = { owner: 0, runs: [0, 1, 2], slots: 1 };

/** Runs that a worker has claimed: most conditions are about these. */
const claimedRuns: ContractCommand[] = [
  accept,
  accept,
  accept,
  { ...verbArgs, do: "beat" },
  { ...verbArgs, do: "claim" },
];

export const contractHistory = fc
  .array(contractCommand, { minLength: 5, maxLength: 40, size: "max" })
  .map((commands): ContractCommand[] => [...claimedRuns, ...commands]);

/** A flush with a fence that holds. */
const flushed = (kind: "note" | "ask"): ContractCommand => ({
  do: "flush",
  entries: [
    {
      run: 0,
      isOwner: true,
      attemptBehind: 0,
      seqBehind: 0,
      signalsBehind: 0,
      kind,
      earlier: 0,
      end: "failed",
    },
  ],
});

/** Two runs of one tenant are handed back in one statement, with one wake-up time: their ids decide the order. */
export const tiedWakeUps: ContractCommand[] = [
  ...claimedRuns,
  flushed("note"),
  { do: "pass", ms: 61_390 },
  { ...verbArgs, do: "handBack", runs: [0, 1] },
  { ...verbArgs, do: "claimDirectly", slots: 2 },
];

/** A question is read after its deadline, which closes it: the answer comes too late. */
export const answeredTooLate: ContractCommand[] = [
  ...claimedRuns,
  flushed("ask"),
  { do: "pass", ms: 61_390 },
  { ...verbArgs, do: "readWaits", runs: [0] },
  { do: "answer", run: 0, wait: 0 },
];
