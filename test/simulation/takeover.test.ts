/** The time until another worker continues a run, on the virtual clock. */
import fc from "fast-check";
import { afterAll, expect, test, vi } from "vitest";
import { START_MS } from "./clock.ts";
import { withSimulation, isAtRest } from "./history.ts";
import type { Verb } from "./network.ts";
import type { OrchestrationName } from "./orchestrations.ts";
import { violationsAtRest } from "./invariants.ts";
import { TENANTS, realParts } from "./simulation.ts";
import type { Simulation } from "./simulation.ts";
import { inputs } from "../services/inputs.ts";

// Test files share their modules. This one loads the product anew with mocks, and leaves no mocked module behind.
vi.hoisted(() => vi.resetModules());
vi.mock("node:timers/promises", () => import("./virtual-timers.ts"));
vi.mock("../../shared/log.ts", () => import("./traced-log.ts"));
afterAll(() => {
  vi.doUnmock("node:timers/promises");
  vi.doUnmock("../../shared/log.ts");
  vi.resetModules();
});

/** docs/architecture.md 2.3. */
const TAKEOVER_MS = 6_000;
/** The workers have built the index of the empty Redis by then. */
const WARM_MS = START_MS + 5_000;
const options = { seed: 1, workers: 3, slots: 10, limit: 100, queued: 100, limitsHold: true };

/** A kill at any time, or at the next call of a verb: before it is sent, or after it was carried out and before its reply. */
const kill = fc.record({
  seed: fc.nat(),
  atMs: fc.integer({ min: 0, max: 20_000 }),
  verb: fc.constantFrom<Verb | null>(
    null,
    "claim",
    "flush",
    "beat",
    "renew",
    "claimJobs",
    "release",
    "finish",
    "readRunSnapshots",
  ),
  after: fc.boolean(),
  submits: fc.array(
    fc.record({
      atMs: fc.integer({ min: 0, max: 20_000 }),
      orchestration: fc.constantFrom<OrchestrationName>(
        "long",
        "long",
        "long",
        "talk",
        "agent",
        "flaky",
        "prints",
      ),
    }),
    { minLength: 3, maxLength: 12 },
  ),
});

test(
  "the runs of a worker that is killed at any instruction are claimed by another within 6 s",
  // A busy machine takes minutes. The limit is long because a test that vitest gives up goes on, and disturbs the virtual clock of the next one.
  { timeout: 600_000 },
  async () => {
    let longestMs = 0;
    let takeovers = 0;
    await fc.assert(
      fc.asyncProperty(kill, async ({ seed, atMs, verb, after, submits }) => {
        await withSimulation({ ...options, seed }, realParts, async (sim) => {
          for (const each of submits) {
            sim.clock.after(each.atMs, () => sim.edge.submit(TENANTS[0], each.orchestration, "default"));
          }
          // Long runs for each of the three workers, so that the killed one has a run in nearly every history.
          for (let i = 0; i < 6; i++) {
            sim.clock.after(Math.max(0, atMs - 1_000), () => sim.edge.submit(TENANTS[0], "long", "default"));
          }
          sim.clock.after(atMs, () => {
            if (verb === null) sim.workers[0]?.process.kill();
            else sim.network.set({ process: "w0", verbs: [verb], is: after ? "kill_after" : "kill", ms: 0 });
          });
          await sim.clock.run(START_MS + 60_000, () => sim.clock.nowMs > START_MS + 20_000 && isAtRest(sim));
          expect([...sim.auditor.violations, ...(await violationsAtRest(sim))]).toEqual([]);
          const waitsMs = takeoversOf(sim);
          takeovers += waitsMs.length;
          longestMs = Math.max(longestMs, ...waitsMs);
        });
      }),
      { numRuns: inputs(40) },
    );
    // Enough of the killed workers had runs.
    expect(takeovers).toBeGreaterThan(inputs(4));
    expect(longestMs).toBeLessThanOrEqual(TAKEOVER_MS);
  },
);

/** For each run of a dead worker: the time from the death to the next claim. */
function takeoversOf({ deaths, auditor, postgres }: Simulation): number[] {
  return deaths.flatMap(({ owner, atMs, runs }) =>
    runs.flatMap((run) => {
      const next = auditor.claims.find(
        (claim) => claim.run === run && claim.owner !== owner && claim.atMs >= atMs,
      );
      if (next) return [next.atMs - atMs];
      // The flush of the end was under way when the worker died: nothing is left to take over.
      const endedAt = postgres.tables.runs.get(run)?.ended_at ?? Infinity;
      return endedAt - atMs < 1_000 ? [] : [Infinity];
    }),
  );
}

test("a run that its live worker does not move is reclaimed after its deadline and claimed by another worker", async () => {
  await withSimulation({ ...options, workers: 2, slots: 1 }, realParts, async (sim) => {
    await sim.clock.run(WARM_MS);
    sim.network.set({ process: "w", verbs: ["flush"], is: "stuck", ms: 30_000 });
    sim.edge.submit(TENANTS[0], "prints", "default");
    await sim.clock.run(WARM_MS + 200_000, () => sim.edge.accepted.size === 1 && isEnded(sim));
    // The deadline is 60 s after the claim, and the repair at most 60 s later.
    expect(sim.clock.nowMs - WARM_MS).toBeLessThan(120_000);
    expect(sim.workers.reduce((sum, { reconciler }) => sum + reconciler.repairs.overdue, 0)).toBe(1);
    expect(new Set(sim.auditor.claims.map(({ owner }) => owner)).size).toBe(2);
  });
});

function isEnded(sim: Simulation): boolean {
  return [...sim.postgres.tables.runs.values()].every(({ status }) => status === "completed");
}

test("the runs that a draining worker hands back are claimed within a second, and count no crash", async () => {
  await withSimulation({ ...options, workers: 2 }, realParts, async (sim) => {
    await sim.clock.run(WARM_MS);
    for (let i = 0; i < 6; i++) sim.edge.submit(TENANTS[0], "long", "default");
    await sim.clock.run(WARM_MS + 2_000);
    const [draining] = sim.workers;
    if (!draining) throw new Error("no worker");
    const activeBefore = draining.worker.active;
    sim.drain(draining, 0);
    await sim.clock.run(WARM_MS + 6_000);
    const moved = sim.auditor.claims.filter(({ atMs }) => atMs > WARM_MS + 2_000);
    expect(moved.map(({ owner }) => owner)).toEqual(
      Array.from({ length: activeBefore }, () => sim.workers[1]?.owner),
    );
    expect(Math.max(...moved.map(({ atMs }) => atMs - WARM_MS - 2_000))).toBeLessThan(1_000);
    expect([...sim.postgres.tables.runs.values()].map(({ crash_count }) => crash_count)).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
  });
});
