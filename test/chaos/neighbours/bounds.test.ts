import { expect, test } from "vitest";
import { checkNeighbours } from "./bounds.ts";
import type { Measured, NeighbourEvidence } from "./bounds.ts";

const measured = (): Measured => ({
  postsMs: [20, 30],
  pickupsMs: [10, 15],
  statusesMs: [5, 8],
  runsMs: [300, 400],
  runs: ["run_1", "run_2"],
  errors: [],
  lost: [],
});

/** A phase with two neighbours in which no promise was broken. */
function soundEvidence(): NeighbourEvidence {
  return {
    alone: measured(),
    beside: measured(),
    feed: [],
    kinds: ["spinning", "guessing"],
    counts: { spinning: { "202": 5, "429": 2, "0": 1 }, guessing: { "401": 9 } },
    failedClients: [],
    ends: new Map([["spinning", new Set(["expression", "transform"])]]),
    deaths: [],
    processUses: [{ name: "worker-1", largestMiB: 500, cpuMs: 1, mainCpuMs: 1, waitedMs: 0 }],
  };
}

test("evidence without a defect breaks no promise", () => {
  expect(checkNeighbours(soundEvidence())).toEqual([]);
});

type Damage = [promise: string, what: string, damage: (e: NeighbourEvidence) => void];
const QUIET = "a quiet tenant does not notice its neighbours";
const TRIED = "every harm is tried";

test.each<Damage>([
  [QUIET, "an error of a request", (e) => e.beside.errors.push("POST: 503")],
  [QUIET, "an end that the feed did not show", (e) => e.feed.push("run_1")],
  [QUIET, "slow POSTs", (e) => e.beside.postsMs.push(2_001)],
  [QUIET, "late pickups", (e) => e.beside.pickupsMs.push(2_501)],
  [QUIET, "slow statuses", (e) => e.beside.statusesMs.push(2_001)],
  [QUIET, "slow runs", (e) => e.beside.runsMs.push(10_001)],
  ["202 means it will finish", "a run that did not complete", (e) => e.beside.lost.push("run_1 is queued")],
  ["no tenant ends a process", "a dead worker", (e) => e.deaths.push("worker-1 was restarted")],
  [
    "memory is bounded",
    "a large worker",
    (e) => (e.processUses = [{ name: "w", largestMiB: 1_401, cpuMs: 1, mainCpuMs: 1, waitedMs: 0 }]),
  ],
  [
    "every response is expected",
    "a 500",
    (e) => (e.counts = { ...e.counts, guessing: { "401": 1, "500": 1 } }),
  ],
  [TRIED, "a neighbour without a response", (e) => (e.counts = { ...e.counts, guessing: { "0": 3 } })],
  [
    TRIED,
    "programs that did not time out",
    (e) => (e.ends = new Map([["spinning", new Set(["expression"])]])),
  ],
  [TRIED, "a client that failed", (e) => e.failedClients.push("hostile_clients.failed")],
])("%s: %s", (promise, _, damage) => {
  const evidence = soundEvidence();
  damage(evidence);
  expect(checkNeighbours(evidence).map((violation) => violation.promise)).toEqual([promise]);
});
