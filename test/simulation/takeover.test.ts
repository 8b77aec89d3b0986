/** How long a run waits for another worker, on the virtual clock. */
import fc from "fast-check";
import { afterAll, expect, test, vi } from "vitest";
import { START_MS } from "./clock.ts";
import { withSimulation, isAtRest } from "./history.ts";
import type { ProgramName } from "./programs.ts";
import { violationsAtRest } from "./invariants.ts";
import { TENANTS, soundParts } from "./world.ts";
import type { Simulation } from "./world.ts";

// The files of a worker share their modules: here the core is loaded anew, over a virtual clock, and thrown away after it.
vi.hoisted(() => vi.resetModules());
vi.mock("node:timers/promises", () => import("./timers-promises.ts"));
vi.mock("../../shared/log.ts", () => import("./log.ts"));
afterAll(() => {
  vi.doUnmock("node:timers/promises");
  vi.doUnmock("../../shared/log.ts");
  vi.resetModules();
});

const TAKEOVER_MS = 20_000;
/** By then the workers have given an empty Redis its index. */
const WARM_MS = START_MS + 5_000;
const options = { seed: 1, workers: 3, slots: 10, limit: 100, queued: 100, limitsHold: true };

/** A kill at any time, or at the next call of a verb: before it leaves, or when it is done and not answered. */
const kill = fc.record({
  seed: fc.nat(),
  atMs: fc.integer({ min: 0, max: 20_000 }),
  verb: fc.constantFrom(null, "claim", "flush", "beat", "renew", "take", "release", "finish", "lookUp"),
  after: fc.boolean(),
  submits: fc.array(
    fc.record({
      atMs: fc.integer({ min: 0, max: 20_000 }),
      program: fc.constantFrom<ProgramName>("long", "long", "long", "talk", "agent", "flaky", "prints"),
    }),
    { minLength: 3, maxLength: 12 },
  ),
});

test(
  "what a worker that is killed at any instruction had in hand, another has within 20 s",
  { timeout: 60_000 },
  async () => {
    let longestMs = 0;
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(kill, async ({ seed, atMs, verb, after, submits }) => {
        await withSimulation({ ...options, seed }, soundParts, async (world) => {
          for (const each of submits) {
            world.clock.after(each.atMs, () => world.front.submit(TENANTS[0], each.program, "default"));
          }
          world.clock.after(atMs, () => {
            if (verb === null) world.workers[0]?.process.kill();
            else world.network.set({ whose: "w0", verbs: [verb], is: after ? "kill_after" : "kill", ms: 0 });
          });
          await world.clock.run(
            START_MS + 60_000,
            () => world.clock.nowMs > START_MS + 20_000 && isAtRest(world),
          );
          expect([...world.auditor.violations, ...violationsAtRest(world)]).toEqual([]);
          const waits = takeoversOf(world);
          taken += waits.length;
          longestMs = Math.max(longestMs, ...waits);
        });
      }),
      { numRuns: 200 },
    );
    // Else the kills met nobody at work.
    expect(taken).toBeGreaterThan(20);
    expect(longestMs).toBeLessThanOrEqual(TAKEOVER_MS);
  },
);

/** How long each run of a dead worker was in nobody's hands. */
function takeoversOf({ deaths, auditor, postgres }: Simulation): number[] {
  return deaths.flatMap(({ owner, atMs, runs }) =>
    runs.flatMap((run) => {
      const next = auditor.claims.find(
        (claim) => claim.run === run && claim.owner !== owner && claim.atMs >= atMs,
      );
      if (next) return [next.atMs - atMs];
      // Its end was on the way to Postgres when its worker died: there was nothing to take over.
      const endedAt = postgres.tables.runs.get(run)?.ended_at ?? Infinity;
      return endedAt - atMs < 1_000 ? [] : [Infinity];
    }),
  );
}

test("a worker that beats but does not move loses its runs to another", async () => {
  await withSimulation({ ...options, workers: 2, slots: 1 }, soundParts, async (world) => {
    await world.clock.run(WARM_MS);
    world.network.set({ whose: "w", verbs: ["flush"], is: "stuck", ms: 30_000 });
    world.front.submit(TENANTS[0], "prints", "default");
    await world.clock.run(WARM_MS + 200_000, () => world.front.accepted.size === 1 && isEnded(world));
    // Its deadline is 60 s after the claim, and it has to be repaired 60 s later.
    expect(world.clock.nowMs - WARM_MS).toBeLessThan(120_000);
    expect(world.workers.reduce((sum, { reconciler }) => sum + reconciler.repairs.overdue, 0)).toBe(1);
    expect(new Set(world.auditor.claims.map(({ owner }) => owner)).size).toBe(2);
  });
});

function isEnded(world: Simulation): boolean {
  return [...world.postgres.tables.runs.values()].every(({ status }) => status === "completed");
}

test("what a draining worker hands back another has within a second, and nobody counts a crash", async () => {
  await withSimulation({ ...options, workers: 2 }, soundParts, async (world) => {
    await world.clock.run(WARM_MS);
    for (let i = 0; i < 6; i++) world.front.submit(TENANTS[0], "long", "default");
    await world.clock.run(WARM_MS + 2_000);
    const [draining] = world.workers;
    if (!draining) throw new Error("no worker");
    const had = draining.worker.active;
    world.drain(draining, 0);
    await world.clock.run(WARM_MS + 6_000);
    const moved = world.auditor.claims.filter(({ atMs }) => atMs > WARM_MS + 2_000);
    expect(moved.map(({ owner }) => owner)).toEqual(
      Array.from({ length: had }, () => world.workers[1]?.owner),
    );
    expect(Math.max(...moved.map(({ atMs }) => atMs - WARM_MS - 2_000))).toBeLessThan(1_000);
    expect([...world.postgres.tables.runs.values()].map(({ crash_count }) => crash_count)).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
  });
});
