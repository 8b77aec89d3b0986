/** A history: a world, what happens to it, its healing, and how it has to look when all is at rest. */
import fc from "fast-check";
import { vi } from "vitest";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { Repairs } from "../../worker-node/reconciler/parts.ts";
import { CHAOS_MS, anyCommand, describe, mayPassLimits, schedule } from "./commands.ts";
import type { Command } from "./commands.ts";
import { START_MS, stubGlobals } from "./clock.ts";
import { violationsAtRest } from "./invariants.ts";
import { traceLogs } from "./log.ts";
import { programOf } from "./programs.ts";
import { Simulation, soundParts } from "./world.ts";
import type { Parts, WorldOptions } from "./world.ts";

export type History = {
  seed: number;
  workers: number;
  slots: number;
  limit: number;
  queued: number;
  commands: Command[];
};

export const history: fc.Arbitrary<History> = fc.record({
  seed: fc.nat(),
  workers: fc.integer({ min: 2, max: 3 }),
  slots: fc.integer({ min: 1, max: 4 }),
  limit: fc.constantFrom(1, 2, 2, 10),
  queued: fc.constantFrom(2, 100, 100),
  commands: fc.array(anyCommand, { minLength: 4, maxLength: 18 }),
});

/** What nothing else would touch again is repaired within so long. */
const REPAIR_MS = 60_000;

/** By then every request that was on its way when all was healed has committed, or never will. */
const REQUEST_MS = 20_000;

export type Ended = { violations: string[]; restMs: number; repairs: Repairs[]; lines: string[] };

/** Lives through a history. `lines`: what happened, when it was asked for. */
export async function play(given: History, parts: Parts = soundParts, told = false): Promise<Ended> {
  const limitsHold = !mayPassLimits(given.commands);
  const lines: string[] = [];
  return withSimulation({ ...given, limitsHold }, parts, async (world) => {
    if (told) world.onEvent = (line) => lines.push(line);
    for (const each of given.commands) schedule(world, each);
    world.supervise();
    await world.clock.run(START_MS + CHAOS_MS);
    heal(world);
    const healedAtMs = world.clock.nowMs;
    await world.clock.run(healedAtMs + REQUEST_MS, () => isAtRest(world));
    await world.clock.run(healedAtMs + REPAIR_MS + workOf(world), () => isAtRest(world));
    const restMs = world.clock.nowMs - healedAtMs;
    const violations = [...world.auditor.violations, ...violationsAtRest(world)];
    return { violations, restMs, repairs: world.workers.map(({ reconciler }) => reconciler.repairs), lines };
  });
}

/** A world, and nothing of it left behind. */
export async function withSimulation<Result>(
  options: WorldOptions,
  parts: Parts,
  act: (world: Simulation) => Promise<Result>,
): Promise<Result> {
  const world = new Simulation(options, parts);
  stubGlobals(world.clock, world.random);
  traceLogs(world);
  try {
    return await act(world);
  } finally {
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  }
}

function heal(world: Simulation): void {
  world.trace("HEAL");
  world.redisService.isUp = true;
  world.postgresService.isUp = true;
  world.network.heal();
  for (const { process } of world.alive) process.thaw();
  keepOpen(world);
}

/** A tenant that may run nothing would wait for ever; what closes it may have been under way for long. */
function keepOpen(world: Simulation): void {
  for (const { tenant_id, max_concurrent_runs } of world.postgres.tables.tenants.values()) {
    if (max_concurrent_runs === 0) world.front.setLimit(tenant_id, 1);
  }
  world.clock.after(1_000, () => keepOpen(world));
}

/** As long as all runs take one after the other: a tenant may have one slot. */
function workOf(world: Simulation): number {
  const open = [...world.postgres.tables.runs.values()].filter(({ status }) => !TERMINAL.has(status));
  return open.reduce((ms, { orchestration_id }) => ms + programOf(orchestration_id).workMs, 0);
}

export function isAtRest(world: Simulation): boolean {
  for (const { status } of world.postgres.tables.runs.values()) if (!TERMINAL.has(status)) return false;
  return world.redis.jobs.length === 0 && world.alive.every(({ worker }) => worker.active === 0);
}

/** What a person reads of a failed history. */
export async function story(given: History, parts: Parts = soundParts): Promise<string> {
  const { violations, lines } = await play(given, parts, true);
  const commands = given.commands.map((each) => `  ${String(each.atMs).padStart(6)} ms  ${describe(each)}`);
  const { seed, workers, slots, limit, queued } = given;
  return [
    `seed ${seed}, ${workers} workers of ${slots} slots, limits ${limit} and ${queued}`,
    ...commands,
    ...lines.slice(-400),
    ...violations.map((violation) => `VIOLATION ${violation}`),
  ].join("\n");
}
